"""Owns all maps of one attachment, the user's and the programs' own, and the numbers that programs are linked with."""

from __future__ import annotations

from struct import pack_into, unpack_from
from typing import TYPE_CHECKING

from multiprobe.errors import UsageError
from multiprobe.maps.layout import ACTIVE, LOSSES, OWN, constants
from multiprobe.maps.maps import ArrayMap, OwnMap, SharedArray
from multiprobe.maps.opening import open_map
from multiprobe.maps.set_spec import HITS
from multiprobe.syscalls.fd import Closing
from multiprobe.syscalls.membarrier import wait_for_programs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multiprobe.maps.opening import Map
    from multiprobe.maps.set_spec import MapSetSpec
    from multiprobe.maps.specs import MapSpec


class MapSet(Closing):
    """The open maps of one attachment, closed together. Programs linked with them stay idle until `activate`."""

    can_idle = True
    """Whether `deactivate` has an effect."""

    def __init__(self, spec: MapSetSpec, *, control: SharedArray | None = None) -> None:
        """Create all maps of `spec`. `control`: takes this one over."""
        self.n_functions = spec.n_functions
        self._maps: dict[MapSpec, Map] = {}
        self._hits: ArrayMap | None = None
        self._tables: dict[str, SharedArray] = {} if control is None else {"control": control}
        try:
            self._open(spec)
        except BaseException:
            self.close()
            raise

    def _open(self, spec: MapSetSpec) -> None:
        for name, size in spec.table_sizes().items():
            if name == "hits":
                self._tables[name] = self._hits = ArrayMap(HITS, spec.hits_layout(), name=name)
            elif name not in self._tables:
                self._tables[name] = SharedArray(size, name=name)
        for one, made in spec.layouts().items():
            self._maps[one] = open_map(one, made)
        for name, content in spec.contents().items():
            self._tables[name].memory[: len(content)] = content

    def map(self, spec: MapSpec) -> Map:
        """The open map of a spec."""
        try:
            return self._maps[spec]
        except (KeyError, TypeError):
            raise UsageError(f"{spec!r} is used by no program of this attachment") from None

    def values(self, specs: Sequence[MapSpec]) -> dict[str, int]:
        """The numbers to link a program with whose maps "map0", "map1", … are `specs`."""
        found = {"n_functions": self.n_functions}
        for name, table in self._tables.items():
            found[name] = table.fd.fileno()
        for name, last in (("index", 4), ("cookies", 8), ("arg_counts", 1), ("arg_limits", 1), ("returns", 1)):
            if name in self._tables:
                found[f"{name}.limit"] = self._tables[name].size - last
        if self._hits is not None:
            found |= constants(HITS, self._hits.layout, "hits", n_functions=self.n_functions)
        for place, spec in enumerate(specs):
            key, made = f"map{place}", self.map(spec)
            found[key] = made.fd.fileno()
            found |= constants(spec, made.layout, key, n_functions=self.n_functions)
            if isinstance(made, OwnMap):
                found |= made.constants(key)
        return found

    @property
    def hits(self) -> ArrayMap:
        """How often each function was hit, by CPU, whether or not the programs were active."""
        assert self._hits is not None
        return self._hits

    @property
    def control(self) -> SharedArray:
        """The map in which the programs are switched on and off."""
        return self._tables["control"]

    def set_own(self, pid: int) -> None:
        """Tell programs which process is the front end; a watchdog adds its own."""
        pack_into("<II", self._tables["control"].memory, OWN, pid, pid)

    def own(self) -> set[int]:
        """The ids of the front end and, if programs know it, of its watchdog."""
        return set(unpack_from("<II", self._tables["control"].memory, OWN))

    def activate(self) -> None:
        """Let the programs run."""
        self._show_active(is_active=True)
        pack_into("<Q", self._tables["control"].memory, ACTIVE, 1)

    def deactivate(self) -> None:
        """Have the programs leave at once when they are hit; where there are events, wait for those that run now."""
        pack_into("<Q", self._tables["control"].memory, ACTIVE, 0)
        if any(isinstance(one, OwnMap) for one in self._maps.values()):
            wait_for_programs()
            self._show_active(is_active=False)

    def _show_active(self, *, is_active: bool) -> None:
        for one in self._maps.values():
            if isinstance(one, OwnMap):
                one.is_active = is_active

    def losses(self) -> dict[str, int]:
        """What programs could not do, and how often: full_maps, out_of_range, failed_reads, cut_loops,
        unpaired_entries, unpaired_returns; unknown_function, what was booked on no function (a defect); and what
        maps add to this, dropped_events, stack_collisions, failed_stacks."""
        control = self._tables["control"].memory
        found = {name: unpack_from("<Q", control, offset)[0] for name, offset in LOSSES.items()}
        unknown = sum(one.unknown() for one in self._maps.values() if isinstance(one, ArrayMap))
        found["unknown_function"] = unknown
        for one in self._maps.values():
            if isinstance(one, OwnMap):
                for name, n in one.losses().items():
                    found[name] = found.get(name, 0) + n
        return found

    def close(self) -> None:
        """Close every map."""
        for one in (*self._maps.values(), *self._tables.values()):
            one.close()

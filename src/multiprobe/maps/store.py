"""Owns all maps of one attachment, the user's and the programs' own, and the numbers that programs are linked with."""

from __future__ import annotations

from struct import pack_into, unpack_from
from typing import TYPE_CHECKING

from multiprobe.errors import UsageError
from multiprobe.maps.layout import ACTIVE, CONTROL_SIZE, LOSSES, OWN, SESSIONS_SIZE, constants, layout
from multiprobe.maps.maps import ArrayMap, OwnMap, SharedArray
from multiprobe.maps.opening import open_map
from multiprobe.maps.specs import PerFunction
from multiprobe.maps.types import u64
from multiprobe.syscalls.fd import Closing
from multiprobe.syscalls.membarrier import wait_for_programs

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable, Sequence

    from multiprobe.maps.index import FunctionIndex
    from multiprobe.maps.opening import Map
    from multiprobe.maps.specs import MapSpec

HITS = PerFunction(u64)


class MapSet(Closing):
    """The open maps of one attachment, closed together. Programs linked with them stay idle until `activate`."""

    can_idle = True
    """Whether `deactivate` has an effect."""

    def __init__(
        self,
        specs: Iterable[MapSpec],
        *,
        n_functions: int,
        n_cpus: int,
        index: FunctionIndex | None = None,
        cookies: array[int] | None = None,
        arg_counts: bytes | None = None,
        arg_limits: bytes | None = None,
        returns: bytes | None = None,
        has_hits: bool = False,
        has_sessions: bool = False,
        control: SharedArray | None = None,
    ) -> None:
        """Open a map for each spec.

        `index` finds functions by address (programs with function_from="ip"); `cookies` (array 'Q'), `arg_counts`,
        `arg_limits` and `returns` (a byte each), by function index, are for programs whose links can't carry them.
        `has_hits`: programs have a gate, where they count how often each function was hit. `has_sessions`: with a table
        of calls under way, for sessions that two programs make together. `control`: takes this map over.
        """
        self.n_functions = n_functions
        self._maps: dict[MapSpec, Map] = {}
        self._hits: ArrayMap | None = None
        self._tables: dict[str, SharedArray] = {}
        try:
            self._tables["control"] = control or SharedArray(CONTROL_SIZE, name="control")
            for spec in specs:
                if spec not in self._maps:
                    self._maps[spec] = open_map(spec, layout(spec, n_functions, n_cpus))
            if has_hits:
                self._hits = ArrayMap(HITS, layout(HITS, n_functions, n_cpus), name="hits")
                self._tables["hits"] = self._hits
            if index is not None:
                self._fill("index", index.table)
            if cookies is not None:
                self._fill("cookies", bytes(8) + cookies.tobytes())
            if arg_counts is not None:
                self._fill("arg_counts", bytes(1) + arg_counts)
            if arg_limits is not None:
                self._fill("arg_limits", b"\xff" + arg_limits)
            if returns is not None:
                self._fill("returns", bytes(1) + returns)
            if has_sessions:
                self._tables["sessions"] = SharedArray(SESSIONS_SIZE, name="sessions")
        except BaseException:
            self.close()
            raise

    def _fill(self, name: str, content: bytes | array[int]) -> None:
        data = memoryview(content).cast("B")
        table = self._tables[name] = SharedArray(-(-len(data) // 8) * 8, name=name)
        table.memory[: len(data)] = data

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

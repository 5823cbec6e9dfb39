"""The links of an attachment, in parts that can lose functions while the rest stays attached.

A link can't be changed. To leave functions out, a second instance of the program is linked to the rest, beside the
first; then every CPU turns from the one to the other (`maps.switch`), and the first link is closed: no call is lost or
counted twice, and all counts stay. Functions with a link each are simply let go.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from itertools import repeat
from typing import TYPE_CHECKING

from multiprobe.errors import KernelError, UsageError, errno_name
from multiprobe.links.mechanisms.parallel import close_all
from multiprobe.maps.switch import Switch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from multiprobe.kernel.mechanism import Mechanism
    from multiprobe.links.mechanisms.link import Link
    from multiprobe.links.mechanisms.linked import Linked
    from multiprobe.links.mechanisms.linking import Linking


class Part:
    """Functions attached together: their `indices`, their links, and the switch of their programs, if these have a
    gate."""

    def __init__(self, linked: Linked, switch: Switch | None) -> None:
        self.linked = linked
        self.indices: Sequence[int] = _indices(linked.links)
        self.switch = switch

    @property
    def mechanism(self) -> Mechanism:
        return self.linked.mechanism

    def turn(self, generation: int) -> None:
        """Let the instances of that generation act, and no others."""
        if self.switch is not None:
            self.switch.turn(generation)

    def close(self) -> None:
        """Detach."""
        try:
            self.linked.close()
        finally:
            if self.switch is not None:
                self.switch.close()


class ReplaceableLinks:
    """All links of one attachment. Owns them; must be closed. Any thread may use it.

    n_cpus: with 0, programs have no gate, and links can only be dropped as a whole
    mechanism_of: of each attached function, by index
    """

    def __init__(self, linking: Linking | None, n_cpus: int) -> None:
        self.mechanism_of: dict[int, Mechanism] = {}
        self._mechanism_before: dict[int, Mechanism] = {}  # of dropped functions
        self._released: set[int] = set()
        self.lock = threading.RLock()
        self.parts: list[Part] = []
        self.n_relinks = 0
        self._linking = linking
        self._n_cpus = n_cpus
        self._gone = {"link_misses": 0, "recursion_misses": 0}  # misses of what is closed by now

    @property
    def has_gate(self) -> bool:
        return self._n_cpus > 0

    @property
    def links(self) -> tuple[Link, ...]:
        """The open links."""
        with self.lock:
            return tuple(link for part in self.parts for link in part.linked.links if not link.is_closed)

    def link(
        self, mechanism: Mechanism, indices: Sequence[int], *, progress: Callable[[int, int], None] | None = None
    ) -> Part:
        """Attach a new part. With a gate it does not count before `open`. Its `linked.refused` are not attached."""
        switch = Switch(self._n_cpus) if self.has_gate else None
        try:
            gate = switch.values(1) if switch else None
            linked = self._require_linking().link(mechanism, indices, gate=gate, progress=progress)
        except BaseException:
            if switch is not None:
                switch.close()
            raise
        part = Part(linked, switch)
        self.adopt(part)
        return part

    def adopt(self, part: Part) -> None:
        """Own a part from now on."""
        with self.lock:
            self.parts.append(part)
            self.mechanism_of.update(zip(part.indices, repeat(part.mechanism)))

    def _require_linking(self) -> Linking:
        if self._linking is None:
            raise UsageError("no function can be attached to an attachment that was opened from pins")
        return self._linking

    def add(self, functions: Collection[int]) -> dict[int, int]:
        """Attach functions again that were dropped, by the mechanism that they had; the errno of each refused."""
        groups: dict[Mechanism, list[int]] = {}
        refused: dict[int, int] = {}
        with self.lock:
            for index in sorted(functions):
                if index in self._mechanism_before:
                    groups.setdefault(self._mechanism_before[index], []).append(index)
            for mechanism, indices in groups.items():
                part = self.link(mechanism, indices)
                self.open(part)
                refused |= part.linked.refused
        return refused

    def open(self, part: Part) -> None:
        """Let its programs count their hits, and act once the attachment is active."""
        part.turn(1)

    def drop(self, functions: Collection[int]) -> dict[int, str]:
        """Detach these functions (by index) wherever they are attached; those that were, each with "".

        Where the kernel refuses the replacement of a link, all of its functions go, and where it refuses one of them,
        that one: each with the reason.
        """
        dropped: dict[int, str] = {}
        with self.lock:
            for part in list(self.parts):
                chosen = {index for index in part.indices if index in functions}
                if chosen:
                    gone = dict.fromkeys(chosen, "") | self._drop_from(part, chosen)
                    self._forget(gone)
                    dropped |= dict(sorted(gone.items()))
        return dropped

    def release(self, functions: Collection[int]) -> None:
        """Detach those of these functions that share a link with others; detaching single ones takes too long.

        A link whose replacement the kernel refuses, for any function, stays as it is.
        """
        with self.lock:
            for part in [part for part in self.parts if not part.mechanism.is_single]:
                chosen = {index for index in part.indices if index in functions}
                if chosen and self._does_without(part, chosen):
                    self._forget(chosen)
                    self._released |= chosen

    def restore(self) -> dict[int, int]:
        """Attach the released functions again; the errno of each refused."""
        with self.lock:
            released, self._released = self._released, set()
            return self.add(released)

    def retreat(self) -> Sequence[int]:
        """Detach the part that was attached last; its functions."""
        with self.lock:
            part = self.parts.pop()
            part.turn(0)
            indices = part.indices
            self._retire(part.linked)
            part.close()
            self._forget(indices)
            return indices

    def _forget(self, indices: Iterable[int]) -> None:
        for index in indices:
            mechanism = self.mechanism_of.pop(index, None)
            if mechanism is not None:
                self._mechanism_before[index] = mechanism

    def _drop_from(self, part: Part, functions: set[int]) -> dict[int, str]:
        """Leave out some functions; others that are lost by that, each with the reason."""
        kept = [index for index in part.indices if index not in functions]
        if not kept:
            self._empty(part)
            return {}
        refused: Mapping[int, int] = {}
        if part.mechanism.is_single:
            self._retire(part.linked.split(functions))
        else:
            try:
                refused = self._replace(part, kept)
            except KernelError as error:
                self._empty(part)
                return dict.fromkeys(kept, f"; its link could not be replaced ({error.errno_name})")
        part.indices = [index for index in kept if index not in refused]
        return {index: f"; a new link on it was refused ({errno_name(number)})" for index, number in refused.items()}

    def _does_without(self, part: Part, functions: set[int]) -> bool:
        """Leave out some functions if that loses no other one."""
        kept = [index for index in part.indices if index not in functions]
        if not kept:
            self._empty(part)
            return True
        try:
            fresh = self._link_beside(part, kept)
        except KernelError:
            return False
        if fresh.refused:
            fresh.close()
            return False
        self._take_over(part, fresh)
        part.indices = kept
        return True

    def _empty(self, part: Part) -> None:
        part.turn(0)
        self._retire(part.linked)
        part.indices = []

    def _replace(self, part: Part, kept: list[int]) -> Mapping[int, int]:
        """Link `kept` anew; the errno of each index that the kernel refuses this time."""
        fresh = self._link_beside(part, kept)
        self._take_over(part, fresh)
        return fresh.refused

    def _link_beside(self, part: Part, kept: list[int]) -> Linked:
        """Link `kept` by the part's next generation, whose turn it is not yet."""
        assert part.switch is not None
        gate = part.switch.values(part.switch.generation + 1)
        return self._require_linking().link(part.mechanism, kept, gate=gate)

    def _take_over(self, part: Part, fresh: Linked) -> None:
        """Turn to links of the part's next generation, and close those of the one before."""
        part.turn(part.switch.generation + 1 if part.switch else 0)
        old, part.linked = part.linked, fresh
        self._retire(old)
        self.n_relinks += 1

    def _retire(self, linked: Linked) -> None:
        try:
            self._gone = _added(self._gone, linked.missed())
        finally:
            linked.close()

    def missed(self) -> dict[str, int]:
        """`link_misses` and `recursion_misses`, with those of links that are closed by now."""
        with self.lock:
            found = self._gone
            for part in self.parts:
                found = _added(found, part.linked.missed())
            return found

    def close(self) -> None:
        """Detach everything. Can be done again, where it was cut off."""
        with self.lock:
            parts = list(self.parts)
        with suppress(OSError):
            close_all([link for part in parts for link in part.linked.links])
        for part in parts:
            part.close()
        with self.lock:
            self.parts = []


def _indices(links: Sequence[Link]) -> Sequence[int]:
    """The functions of these links, each once; without a copy where it is one link."""
    if len(links) == 1:
        return links[0].functions
    return list(dict.fromkeys(index for link in links for index in link.functions))


def _added(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {cause: n + other.get(cause, 0) for cause, n in one.items()}

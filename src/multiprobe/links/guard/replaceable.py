"""The parts of an attachment that can lose functions while it runs: linked, replaced by smaller ones, taken away.

A link can't be changed. To leave functions out, a second instance of the program is linked to the rest, beside the
first; then every CPU turns from the one to the other (`maps.switch`), and the first link is closed: no call is lost or
counted twice, and all counts stay. Functions with a link each are simply let go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.errors import KernelError, errno_name
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.mechanisms.linked import Held
from multiprobe.links.missed import added, missed_by
from multiprobe.maps.switch import Switch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from multiprobe.links.mechanisms.linking import Linking

_SINGLE = Mechanism.TRAMPOLINE | Mechanism.KPROBE


class Part:
    """Functions attached together: `indices` of those that are, what holds them, and whose turn it is."""

    def __init__(self, held: Held, indices: list[int], switch: Switch) -> None:
        self.held = held
        self.indices = indices
        self.switch = switch

    @property
    def mechanism(self) -> Mechanism:
        return self.held.mechanism


class Parts:
    """All parts of one attachment. Owns what holds them; must be closed. One thread at a time may use it.

    mechanism_of: of each attached function, by index
    """

    def __init__(self, linking: Linking, n_cpus: int) -> None:
        self.mechanism_of: dict[int, Mechanism] = {}
        self._linking = linking
        self._n_cpus = n_cpus
        self._gone: dict[str, int] = {}  # misses of what is closed by now
        self.all: list[Part] = []
        self.n_relinks = 0

    @property
    def held(self) -> list[Held]:
        return [part.held for part in self.all]

    @property
    def n_links(self) -> int:
        return sum(not link.is_closed for held in self.held for link in held.links)

    def link(
        self, mechanism: Mechanism, indices: Sequence[int], *, progress: Callable[[int, int], None] | None = None
    ) -> tuple[Part, dict[int, int]]:
        """A new part, attached but not yet counting (see `open`), and the errno of each place refused."""
        part = Part(Held(mechanism), list(indices), Switch(self._n_cpus))
        self.all.append(part)
        refused = self._linking.link(part.held, indices, gate=part.switch.values(1), progress=progress)
        part.held.places = [indices[place] for place in part.held.places]
        part.indices = [index for place, index in enumerate(indices) if place not in refused]
        self.mechanism_of |= dict.fromkeys(part.indices, mechanism)
        return part, refused

    def open(self, part: Part) -> None:
        """Let its programs count their hits, and act once the attachment is active."""
        part.switch.turn(1)

    def drop(self, functions: Collection[int]) -> dict[int, str]:
        """Detach these functions (by index) wherever they are attached; those that were, each with "".

        Where the kernel refuses the replacement of a link, all of its functions go, and where it refuses one of them,
        that one: each with the reason.
        """
        dropped: dict[int, str] = {}
        for part in list(self.all):
            chosen = {index for index in part.indices if index in functions}
            if chosen:
                gone = dict.fromkeys(chosen, "") | self._drop_from(part, chosen)
                self._forget(gone)
                dropped |= dict(sorted(gone.items()))
        return dropped

    def retreat(self) -> list[int]:
        """Detach the part that was attached last; its functions."""
        part = self.all.pop()
        part.switch.turn(0)
        self._retire(part.held)
        part.switch.close()
        self._forget(part.indices)
        return part.indices

    def _forget(self, indices: Iterable[int]) -> None:
        for index in indices:
            self.mechanism_of.pop(index, None)

    def _drop_from(self, part: Part, functions: set[int]) -> dict[int, str]:
        """Leave out some functions; others that are lost by that, each with the reason."""
        kept = [index for index in part.indices if index not in functions]
        if not kept:
            self._empty(part)
            return {}
        refused: dict[int, int] = {}
        if part.mechanism & _SINGLE:
            self._let_go(part, functions)
        else:
            try:
                refused = self._replace(part, kept)
            except KernelError as error:
                self._empty(part)
                return dict.fromkeys(kept, f"; its link could not be replaced ({error.errno_name})")
        part.indices = [index for index in kept if index not in refused]
        return {index: f"; a new link on it was refused ({errno_name(number)})" for index, number in refused.items()}

    def _empty(self, part: Part) -> None:
        part.switch.turn(0)
        self._retire(part.held)
        part.indices = []

    def _replace(self, part: Part, kept: list[int]) -> dict[int, int]:
        """Link `kept` anew; the errno of each index that the kernel refuses this time."""
        generation = part.switch.generation + 1
        fresh = Held(part.mechanism)
        try:
            refused = self._linking.link(fresh, kept, gate=part.switch.values(generation))
        except BaseException:
            fresh.close()
            raise
        part.switch.turn(generation)
        old, part.held = part.held, fresh
        self._retire(old)
        self.n_relinks += 1
        return {kept[place]: number for place, number in refused.items()}

    def _let_go(self, part: Part, functions: set[int]) -> None:
        held, leaving = part.held, Held(part.mechanism)
        for name in ("links", "extra", "programs"):
            mine, theirs = getattr(held, name), getattr(leaving, name)
            if len(mine) != len(held.places):
                continue  # one program that all of them share stays
            theirs += [fd for fd, place in zip(mine, held.places, strict=True) if place in functions]
            mine[:] = [fd for fd, place in zip(mine, held.places, strict=True) if place not in functions]
        held.places[:] = [place for place in held.places if place not in functions]
        self._gone = added(self._gone, missed_by([leaving]))
        leaving.close()

    def _retire(self, held: Held) -> None:
        self._gone = added(self._gone, missed_by([held]))
        held.close()

    def missed(self) -> dict[str, int]:
        """What the kernel says was not seen, what is gone by now included."""
        return added(missed_by(self.held), self._gone)

    def close(self) -> None:
        """Detach everything."""
        parts, self.all = self.all, []
        for part in parts:
            part.held.close()
            part.switch.close()

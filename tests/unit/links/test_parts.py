"""Dropping functions from parts, over a kernel that is faked: what is linked anew, turned, closed and kept."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import pytest

from multiprobe.errors import KernelError
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.guard import replaceable as module
from multiprobe.links.guard.replaceable import ReplaceableLinks
from multiprobe.links.mechanisms.link import Link
from multiprobe.links.mechanisms.linked import Linked

EVENTS: list[str] = []


class FakeDescriptor:
    """A link or program that says when it is closed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_closed = False

    def close(self) -> None:
        if not self.is_closed:
            EVENTS.append(f"close {self.name}")
        self.is_closed = True


class FakeSwitch:
    """Whose turn it is."""

    def __init__(self, _n_cpus: int) -> None:
        self.generation = 0

    def values(self, generation: int) -> dict[str, int]:
        return {"generation": generation}

    def turn(self, generation: int) -> None:
        EVENTS.append(f"turn {generation}")
        self.generation = generation

    def close(self) -> None:
        EVENTS.append("close switch")


class FakeLink(Link):
    """A link that missed one call."""

    def missed(self) -> int:
        return 0 if self.is_closed else 1


class FakeLinking:
    """Links anything, until it is told to refuse: everything, or functions."""

    def __init__(self) -> None:
        self.refuses = False
        self.refused: dict[int, int] = {}

    def link(
        self, mechanism: Mechanism, indices: Sequence[int], *, gate: dict[str, int], progress: object = None
    ) -> Linked:
        if self.refuses:
            raise KernelError("attaching", errno.ENOMEM)
        good = [index for index in indices if index not in self.refused]
        groups = [[index] for index in good] if mechanism.is_single else [good]
        names = [f"link {index}" for index in good] if mechanism.is_single else [f"link {gate['generation']} on {good}"]
        EVENTS.append(f"link {list(indices)}")
        links: list[Link] = [
            FakeLink(FakeDescriptor(name), mechanism, group)  # type: ignore[arg-type]
            for name, group in zip(names, groups, strict=True)
        ]
        return Linked(mechanism, links, {index: n for index, n in self.refused.items() if index in indices})


@pytest.fixture
def linking(monkeypatch: pytest.MonkeyPatch) -> FakeLinking:
    monkeypatch.setattr(module, "Switch", FakeSwitch)
    EVENTS.clear()
    return FakeLinking()


def made(linking: FakeLinking, mechanism: Mechanism, *groups: list[int]) -> ReplaceableLinks:
    links = ReplaceableLinks(linking, 1)  # type: ignore[arg-type]
    for indices in groups:
        part = links.link(mechanism, indices)
        assert part.linked.refused == {}
        links.open(part)
    EVENTS.clear()
    return links


def test_the_replacement_is_linked_before_the_turn_and_the_old_closed_after_it(linking: FakeLinking) -> None:
    links = made(linking, Mechanism.KPROBE_MULTI, [0, 1, 2], [3, 4])
    assert links.drop({1, 9}) == {1: ""}
    assert EVENTS == ["link [0, 2]", "turn 2", "close link 1 on [0, 1, 2]"]
    assert [part.indices for part in links.parts] == [[0, 2], [3, 4]]
    assert links.missed() == {"link_misses": 3, "recursion_misses": 0}, "those of two parts, and of one that is gone"
    assert (links.n_relinks, len(links.links)) == (1, 2)


def test_nothing_is_linked_for_nothing(linking: FakeLinking) -> None:
    links = made(linking, Mechanism.KPROBE_MULTI, [0, 1])
    assert links.drop({0, 1}) == {0: "", 1: ""}
    assert EVENTS == ["turn 0", "close link 1 on [0, 1]"]
    assert links.drop({0}) == {}


def test_single_links_are_let_go(linking: FakeLinking) -> None:
    links = made(linking, Mechanism.TRAMPOLINE, [5, 6, 7])
    assert links.drop({6}) == {6: ""}
    assert EVENTS == ["close link 6"]
    assert links.parts[0].indices == [5, 7]


def test_a_link_that_cannot_be_replaced_goes_as_a_whole(linking: FakeLinking) -> None:
    links = made(linking, Mechanism.KPROBE_MULTI, [0, 1])
    linking.refuses = True
    assert links.drop({1}) == {0: "; its link could not be replaced (ENOMEM)", 1: ""}
    assert EVENTS == ["turn 0", "close link 1 on [0, 1]"]
    assert len(links.links) == 0


def test_retreat_takes_the_last_part(linking: FakeLinking) -> None:
    links = made(linking, Mechanism.KPROBE_MULTI, [0], [1, 2])
    assert links.retreat() == [1, 2]
    assert EVENTS == ["turn 0", "close link 1 on [1, 2]", "close switch"]
    assert [part.indices for part in links.parts] == [[0]]

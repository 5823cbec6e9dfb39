"""Dropping functions from parts, over a kernel that is faked: what is linked anew, turned, closed and kept."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

import pytest

from multiprobe.errors import KernelError
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.guard import replaceable as module
from multiprobe.links.guard.replaceable import Parts
from multiprobe.links.mechanisms.linked import Held

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


class FakeLinking:
    """Links anything, until it is told to refuse."""

    def __init__(self) -> None:
        self.refuses = False

    def link(
        self, held: Held, indices: Sequence[int], *, gate: dict[str, int], progress: object = None
    ) -> dict[int, int]:
        if self.refuses:
            raise KernelError("attaching", errno.ENOMEM)
        generation = gate["generation"]
        made: Any = [FakeDescriptor(f"link {generation} on {list(indices)}")]
        if held.mechanism == Mechanism.TRAMPOLINE:
            made = [FakeDescriptor(f"link {index}") for index in indices]
            held.places += range(len(indices))
        held.links += made
        EVENTS.append(f"link {list(indices)}")
        return {}


@pytest.fixture
def linking(monkeypatch: pytest.MonkeyPatch) -> FakeLinking:
    monkeypatch.setattr(module, "Switch", FakeSwitch)
    monkeypatch.setattr(module, "missed_by", lambda held: {"link_misses": len(list(held))})
    EVENTS.clear()
    return FakeLinking()


def made(linking: FakeLinking, mechanism: int, *groups: list[int]) -> Parts:
    parts = Parts(linking, 1)  # type: ignore[arg-type]
    for indices in groups:
        part, refused = parts.link(mechanism, indices)
        assert refused == {}
        parts.open(part)
    EVENTS.clear()
    return parts


def test_the_replacement_is_linked_before_the_turn_and_the_old_closed_after_it(linking: FakeLinking) -> None:
    parts = made(linking, Mechanism.KPROBE_MULTI, [0, 1, 2], [3, 4])
    assert parts.drop({1, 9}) == {1: ""}
    assert EVENTS == ["link [0, 2]", "turn 2", "close link 1 on [0, 1, 2]"]
    assert [part.indices for part in parts.all] == [[0, 2], [3, 4]]
    assert parts.missed() == {"link_misses": 3}, "those of two parts, and of one that is gone"
    assert (parts.n_relinks, parts.n_links) == (1, 2)


def test_nothing_is_linked_for_nothing(linking: FakeLinking) -> None:
    parts = made(linking, Mechanism.KPROBE_MULTI, [0, 1])
    assert parts.drop({0, 1}) == {0: "", 1: ""}
    assert EVENTS == ["turn 0", "close link 1 on [0, 1]"]
    assert parts.drop({0}) == {}


def test_single_links_are_let_go(linking: FakeLinking) -> None:
    parts = made(linking, Mechanism.TRAMPOLINE, [5, 6, 7])
    assert parts.drop({6}) == {6: ""}
    assert EVENTS == ["close link 6"]
    assert parts.all[0].held.places == [5, 7]


def test_a_link_that_cannot_be_replaced_goes_as_a_whole(linking: FakeLinking) -> None:
    parts = made(linking, Mechanism.KPROBE_MULTI, [0, 1])
    linking.refuses = True
    assert parts.drop({1}) == {0: "; its link could not be replaced (ENOMEM)", 1: ""}
    assert EVENTS == ["turn 0", "close link 1 on [0, 1]"]
    assert parts.n_links == 0


def test_retreat_takes_the_last_part(linking: FakeLinking) -> None:
    parts = made(linking, Mechanism.KPROBE_MULTI, [0], [1, 2])
    assert parts.retreat() == [1, 2]
    assert EVENTS == ["turn 0", "close link 1 on [1, 2]", "close switch"]
    assert [part.indices for part in parts.all] == [[0]]

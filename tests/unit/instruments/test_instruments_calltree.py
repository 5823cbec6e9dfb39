"""Trees of calls from their times: against a recursive oracle, and with returns taken away."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from multiprobe.instruments.graph.calltree import Call, CallTree, Values, depths, in_order

Shape = tuple[int, list["Shape"]]  # function, what it calls
shapes = st.recursive(
    st.tuples(st.integers(0, 3), st.just([])),
    lambda inner: st.tuples(st.integers(0, 3), st.lists(inner, max_size=4)),
    max_leaves=20,
)
forests = st.lists(shapes, max_size=4)


@dataclass(frozen=True)
class Seen:
    """What was recorded of a call; an end of 0 was not seen."""

    function: int
    begin: int
    end: int = 0


def run(forest: list[Shape]) -> list[Seen]:
    """The calls as a kernel would tell them, a tick between events."""
    made: list[Seen] = []
    clock = 0

    def go(shape: Shape) -> None:
        nonlocal clock
        clock += 1
        begin, place = clock, len(made)
        made.append(Seen(shape[0], begin))
        for inner in shape[1]:
            go(inner)
        clock += 1
        made[place] = Seen(shape[0], begin, clock)

    for shape in forest:
        go(shape)
    return made


def tree_of(seen: list[Seen], *, is_complete: bool) -> CallTree:
    function = np.array([call.function for call in seen], np.uint32)
    begin, end = (np.array([getattr(call, name) for call in seen], np.uint64) for name in ("begin", "end"))
    order, parts = in_order(np.zeros(len(seen), np.uint64), begin, end)
    assert parts == [slice(0, len(seen))][: len(seen)]
    function, begin, end = function[order], begin[order], end[order]
    return CallTree(function, begin, end, depths(begin, end, is_complete=is_complete))


def shape_of(tree: CallTree) -> list[Any]:
    around: list[list[Any]] = [[]]
    for call in tree:
        del around[call.depth + 1 :]
        below: list[Any] = []
        around[-1].append((call.function, below))
        around.append(below)
    return around[0]


@given(forests, st.randoms(use_true_random=False), st.booleans())
def test_what_ran_is_what_is_built(forest: list[Shape], random: Any, is_complete: bool) -> None:
    calls = run(forest)
    random.shuffle(calls)
    assert shape_of(tree_of(calls, is_complete=is_complete)) == forest


@given(forests, st.integers(0, 60))
def test_calls_under_way_at_the_end_hold_what_followed(forest: list[Shape], stop: int) -> None:
    """Tracing that stops at any moment: the tree is that of what had begun, none of it moved."""
    calls = [call if call.end <= stop else replace(call, end=0) for call in run(forest) if call.begin <= stop]

    def begun(shapes: list[Shape], clock: int) -> tuple[list[Any], int]:
        kept = []
        for function, inner in shapes:
            clock += 1
            begin = clock
            below, clock = begun(inner, clock)
            clock += 1
            if begin <= stop:
                kept.append((function, below))
        return kept, clock

    assert shape_of(tree_of(calls, is_complete=True)) == begun(forest, 0)[0]


@given(forests, st.data())
def test_missed_returns_never_put_a_call_under_a_stranger(forest: list[Shape], data: st.DataObject) -> None:
    calls = run(forest)
    ends = {call.begin: call.end for call in calls}
    for place in data.draw(st.sets(st.integers(0, max(0, len(calls) - 1)))) if calls else ():
        calls[place] = replace(calls[place], end=0)
    kept = data.draw(st.lists(st.booleans(), min_size=len(calls), max_size=len(calls)))
    seen = [call for call, is_kept in zip(calls, kept, strict=True) if is_kept]
    found = list(tree_of(seen, is_complete=False))
    assert [call.begin for call in found] == sorted(call.begin for call in seen)
    around: list[Call] = []
    for call in found:
        del around[call.depth :]
        assert len(around) == call.depth
        for outer in around:
            assert outer.end is not None
            assert outer.begin < call.begin < ends[call.begin] < ends[outer.begin]
        around.append(call)


def test_a_call_that_seems_to_go_on_inside_one_that_ended() -> None:
    calls = [Seen(0, 10, 50), Seen(1, 20), Seen(2, 30, 35), Seen(3, 60, 65)]
    assert shape_of(tree_of(calls, is_complete=True)) == [(0, [(1, []), (2, [])]), (3, [])]


def test_two_functions_entered_at_the_same_moment() -> None:
    assert shape_of(tree_of([Seen(2, 5, 8), Seen(1, 5, 9)], is_complete=True)) == [(1, [(2, [])])]


def test_durations() -> None:
    assert Call(0, 5, 8, 0).duration == 3
    assert Call(0, 5, None, 0).duration is None


def test_deep_recursion() -> None:
    n = 5000
    tree = tree_of([Seen(0, at + 1, 2 * n - at) for at in range(n)], is_complete=True)
    assert [call.depth for call in tree] == list(range(n))


def test_threads_follow_each_other() -> None:
    order, parts = in_order(*(np.array(column, np.uint64) for column in ([9, 2, 9, 2], [5, 7, 1, 3], [6, 8, 2, 4])))
    assert order.tolist() == [3, 1, 2, 0]
    assert parts == [slice(0, 2), slice(2, 4)]


def test_a_tree_of_many_calls_is_iterated_in_parts() -> None:
    n = (1 << 16) + 3
    numbers = np.arange(n)
    values = Values(numbers[:, None].astype(np.uint64), numbers.astype(np.uint64), numbers % 2 == 0)
    tree = CallTree(*(numbers.astype(kind) for kind in (np.uint32, np.uint64, np.uint64, np.int32)), values)
    assert len(tree) == n
    assert [call.begin for call in tree] == list(range(n))
    assert list(tree)[-2:] == [
        Call(n - 2, n - 2, n - 2, n - 2, (n - 2,), None),
        Call(n - 1, n - 1, n - 1, n - 1, (n - 1,), n - 1),
    ]

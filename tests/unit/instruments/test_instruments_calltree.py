"""Trees of calls from their times: against a recursive oracle, and with returns taken away."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from multiprobe.instruments.graph.calltree import Call, build_tree, calls_in_order

Shape = tuple[int, list["Shape"]]  # function, what it calls
shapes = st.recursive(
    st.tuples(st.integers(0, 3), st.just([])),
    lambda inner: st.tuples(st.integers(0, 3), st.lists(inner, max_size=4)),
    max_leaves=20,
)
forests = st.lists(shapes, max_size=4)


def run(forest: list[Shape]) -> list[Call]:
    """The calls as a kernel would tell them, a tick between events."""
    made: list[Call] = []
    clock = 0

    def go(shape: Shape) -> None:
        nonlocal clock
        clock += 1
        call = Call(shape[0], clock, None)
        made.append(call)
        for inner in shape[1]:
            go(inner)
        clock += 1
        call.end = clock

    for shape in forest:
        go(shape)
    return made


def shape_of(calls: list[Call]) -> list[Any]:
    return [(call.function, shape_of(call.children)) for call in calls]


@given(forests, st.randoms(use_true_random=False), st.booleans())
def test_what_ran_is_what_is_built(forest: list[Shape], random: Any, is_complete: bool) -> None:
    calls = run(forest)
    random.shuffle(calls)
    assert shape_of(build_tree(calls, is_complete=is_complete)) == forest


@given(forests, st.integers(0, 60))
def test_calls_under_way_at_the_end_hold_what_followed(forest: list[Shape], stop: int) -> None:
    """Tracing that stops at any moment: the tree is that of what had begun, none of it moved."""
    calls = [call for call in run(forest) if call.begin <= stop]
    for call in calls:
        call.end = call.end if call.end is not None and call.end <= stop else None

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

    assert shape_of(build_tree(calls, is_complete=True)) == begun(forest, 0)[0]


@given(forests, st.data())
def test_missed_returns_never_put_a_call_under_a_stranger(forest: list[Shape], data: st.DataObject) -> None:
    calls = run(forest)
    ends = {call.begin: call.end for call in calls}
    for place in data.draw(st.sets(st.integers(0, max(0, len(calls) - 1)))) if calls else ():
        calls[place].end = None
    kept = data.draw(st.lists(st.booleans(), min_size=len(calls), max_size=len(calls)))
    seen = [call for call, is_kept in zip(calls, kept, strict=True) if is_kept]
    roots = build_tree(seen, is_complete=False)
    found = [call for _, call in calls_in_order(roots)]
    assert sorted(call.begin for call in found) == sorted(call.begin for call in seen)
    for call in found:
        assert call.end is not None or not call.children
        for child in call.children:
            end, child_end = ends[call.begin], ends[child.begin]
            assert end is not None
            assert child_end is not None
            assert call.begin < child.begin < child_end < end


def test_a_call_that_seems_to_go_on_inside_one_that_ended() -> None:
    calls = [Call(0, 10, 50), Call(1, 20, None), Call(2, 30, 35), Call(3, 60, 65)]
    assert shape_of(build_tree(calls, is_complete=True)) == [(0, [(1, []), (2, [])]), (3, [])]


def test_two_functions_entered_at_the_same_moment() -> None:
    assert shape_of(build_tree([Call(2, 5, 8), Call(1, 5, 9)], is_complete=True)) == [(1, [(2, [])])]


def test_durations() -> None:
    assert Call(0, 5, 8).duration == 3
    assert Call(0, 5, None).duration is None


def test_deep_recursion() -> None:
    n = 5000
    roots = build_tree([Call(0, at, 2 * n - at) for at in range(n)], is_complete=True)
    assert [depth for depth, _ in calls_in_order(roots)] == list(range(n))

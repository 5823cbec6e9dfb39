"""Trees of calls from events: against a recursive oracle, with events taken away, with threads interleaved."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from multiprobe.instruments.calltree import Call, CallTree, CallTrees, Entry, Return, calls_in_order

Shape = tuple[int, list["Shape"]]  # function, what it calls
shapes = st.recursive(
    st.tuples(st.integers(0, 3), st.just([])),
    lambda inner: st.tuples(st.integers(0, 3), st.lists(inner, max_size=4)),
    max_leaves=20,
)


def events_of(shapes: list[Shape], *, tid: int = 1) -> list[Entry | Return]:
    """What the kernel would send for these calls, a tick between events."""
    made: list[Entry | Return] = []
    clock = 0

    def run(shape: Shape) -> None:
        nonlocal clock
        clock += 1
        begin = clock
        made.append(Entry(tid, shape[0], begin))
        for inner in shape[1]:
            run(inner)
        clock += 1
        made.append(Return(tid, shape[0], clock, begin, returned=begin))

    for shape in shapes:
        run(shape)
    return made


def lose(events: list[Entry | Return], lost: set[int]) -> list[Entry | Return]:
    """What arrives when the events at these places don't; a lost entry takes its return along."""
    gone = {(e.begin, e.function) for n, e in enumerate(events) if n in lost and isinstance(e, Return)}
    never = {(e.time, e.function) for n, e in enumerate(events) if n in lost and isinstance(e, Entry)}
    n_lost, kept = 0, []
    for event in events:
        if isinstance(event, Entry):
            if (event.time, event.function) not in never:
                kept.append(Entry(event.tid, event.function, event.time, n_lost))
        elif (event.begin, event.function) not in never:
            if (event.begin, event.function) in gone:
                n_lost += 1
            else:
                kept.append(Return(event.tid, event.function, event.time, event.begin, event.returned))
    return kept


def build(events: list[Entry | Return]) -> CallTree:
    tree = CallTree()
    for event in events:
        tree.enter(event) if isinstance(event, Entry) else tree.leave(event)
    return tree


def shape_of(calls: list[Call]) -> list[Any]:
    return [(call.function, shape_of(call.children)) for call in calls]


@given(st.lists(shapes, max_size=4))
def test_what_ran_is_what_is_built(shapes: list[Shape]) -> None:
    tree = build(events_of(shapes))
    assert shape_of(tree.roots) == shapes
    assert (tree.n_unmatched, tree.n_unended, tree.n_open) == (0, 0, 0)
    for _, call in calls_in_order(tree.roots):
        assert call.end is not None
        assert call.returned == call.begin
        assert call.duration == 1 + 2 * sum(1 for _ in calls_in_order(call.children))


@given(st.lists(shapes, min_size=1, max_size=4), st.data())
def test_what_gets_lost_never_puts_a_call_under_a_stranger(shapes: list[Shape], data: st.DataObject) -> None:
    """Whatever is lost: durations are true, and a call stands under one that was under way when it ran."""
    events = events_of(shapes)
    ends = {(e.begin, e.function): e.time for e in events if isinstance(e, Return)}
    tree = build(lose(events, data.draw(st.sets(st.integers(0, len(events) - 1)))))

    def check(calls: list[Call], around: list[Call], *, is_sure: bool) -> None:
        for call in calls:
            true_end = ends[call.begin, call.function]
            assert call.end in (None, true_end)
            if is_sure:
                assert all(
                    outer.begin < call.begin and ends[outer.begin, outer.function] >= true_end for outer in around
                )
            # Calls that seem to go on at the very end may have ended: nothing came after to tell.
            still_open = call.end is None and tree.n_open > 0
            check(call.children, [*around, call], is_sure=is_sure and not still_open)

    check(tree.roots, [], is_sure=True)
    assert tree.n_unmatched == 0


def test_a_lost_return_keeps_what_was_surely_inside() -> None:
    events = [
        Entry(1, 0, 10),
        Entry(1, 1, 11),
        Entry(1, 2, 12),
        Return(1, 2, 13, 12),
        # here 1's return is lost
        Entry(1, 3, 15, 1),
        Return(1, 3, 16, 15),
        Return(1, 0, 17, 10),
    ]
    tree = build(events)
    assert shape_of(tree.roots) == [(0, [(1, [(2, [])]), (3, [])])]
    assert tree.roots[0].children[0].end is None
    assert tree.n_unended == 1


def test_returns_without_a_call_are_counted_and_dropped() -> None:
    tree = build([Return(1, 0, 5, 1), Entry(1, 1, 6), Return(1, 1, 7, 3), Return(1, 0, 8, 6), Return(1, 1, 9, 6)])
    assert tree.n_unmatched == 3
    assert [(call.function, call.begin, call.end) for call in tree.roots] == [(1, 6, 9)]


def test_recursion_ends_the_innermost_first() -> None:
    tree = build([Entry(1, 0, 1), Entry(1, 0, 2), Entry(1, 0, 3), Return(1, 0, 4, 3), Return(1, 0, 9, 2)])
    assert [(depth, call.end) for depth, call in calls_in_order(tree.roots)] == [(0, None), (1, 9), (2, 4)]
    assert tree.n_open == 1


@given(st.lists(st.lists(shapes, max_size=3), min_size=2, max_size=4), st.randoms(use_true_random=False))
def test_threads_do_not_mix(threads: list[list[Shape]], random: Any) -> None:
    streams = [events_of(shapes, tid=tid) for tid, shapes in enumerate(threads)]
    trees = CallTrees()
    while any(streams):
        stream = random.choice([stream for stream in streams if stream])
        event = stream.pop(0)
        trees.enter(event) if isinstance(event, Entry) else trees.leave(event)
    for tid, shapes in enumerate(threads):
        assert shape_of(trees.threads[tid].roots if tid in trees.threads else []) == shapes


def test_deep_recursion() -> None:
    n = 5000
    tree = build([*(Entry(1, 0, at) for at in range(1, n + 1))])
    assert [depth for depth, _ in calls_in_order(tree.roots)] == list(range(n))

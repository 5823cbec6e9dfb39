"""Builds the tree of calls of each thread from the times of their entries and returns. Pure.

The calls of one thread (and of the interrupts on top of it) are nested or disjoint, so their times alone determine the
tree, under recursion and on any CPU. A call without a recorded return is either in progress, or its return was missed:

- inside a call that returned, its return was missed: it gets no children;
- if nothing at all was missed, it is in progress, and later calls of its thread are inside it;
- otherwise it gets no children either: no call is placed below one that may have returned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Call:
    """A call of the function with this index: `begin` and `end` in ns; `end` is None where its return wasn't seen.

    `arguments` and `returned` are what the registers held (unsigned, 64 bits); `returned` is None where it isn't known.
    """

    __slots__ = ("arguments", "begin", "children", "end", "function", "returned")

    def __init__(
        self,
        function: int,
        begin: int,
        end: int | None,
        *,
        arguments: tuple[int, ...] = (),
        returned: int | None = None,
    ) -> None:
        self.function = function
        self.begin = begin
        self.end = end
        self.arguments = arguments
        self.returned = returned
        self.children: list[Call] = []

    @property
    def duration(self) -> int | None:
        """ns from entry to return, or None where the return wasn't seen."""
        return None if self.end is None else self.end - self.begin


def build_tree(calls: Iterable[Call], *, is_complete: bool) -> list[Call]:
    """The outermost calls of one thread, in the order of their beginnings; all others become somebody's `children`.

    is_complete: was every return seen of calls that returned?
    """
    ordered = sorted(calls, key=lambda call: (call.begin, -(call.begin if call.end is None else call.end)))
    roots: list[Call] = []
    around: list[Call] = []
    for call in ordered:
        while around and not _may_hold(around[-1], call):
            around.pop()
        (around[-1].children if around else roots).append(call)
        is_inside = any(outer.end is not None for outer in around)
        if call.end is not None or (is_complete and not is_inside):
            around.append(call)
    return roots


def _may_hold(outer: Call, call: Call) -> bool:
    """Did `call` happen while `outer`, which began earlier, was under way?"""
    if outer.end is None:
        return True
    return call.begin < outer.end and (call.end is None or call.end <= outer.end)


def calls_in_order(roots: list[Call]) -> Iterator[tuple[int, Call]]:
    """(depth, call) of every call, in the order of their beginnings. A loop: recursion may be deeper than Python's."""
    pending = [(0, call) for call in reversed(roots)]
    while pending:
        depth, call = pending.pop()
        yield depth, call
        pending += [(depth + 1, child) for child in reversed(call.children)]

"""Arranges the calls of each thread as a tree, from the times of their entries and returns. Pure.

The calls of one thread (and of the interrupts on top of it) are nested or disjoint, so their times alone determine the
tree, under recursion and on any CPU. A call without a recorded return is either in progress, or its return was missed:

- inside a call that returned, its return was missed: no call is inside it;
- if nothing at all was missed, it is in progress, and later calls of its thread are inside it;
- otherwise no call is inside it either: no call is placed below one that may have returned.

A tree is kept as columns, in the order of the beginnings, with depths: a million calls take 24 MB.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

_CHUNK = 1 << 16
_UNSEEN = 0


class Call(NamedTuple):
    """A call of the function with this index: `begin` and `end` in ns; `end` is None where its return wasn't seen.

    depth: the number of calls around it
    arguments, returned: what the registers held (unsigned, 64 bits); `returned` is None where it isn't known
    """

    function: int
    begin: int
    end: int | None
    depth: int
    arguments: tuple[int, ...] = ()
    returned: int | None = None

    @property
    def duration(self) -> int | None:
        """ns from entry to return, or None where the return wasn't seen."""
        return None if self.end is None else self.end - self.begin


@dataclass(frozen=True, slots=True, eq=False)
class Values:
    """What was recorded of calls: arguments, shape (calls, arguments); returned values, and whether they are known."""

    arguments: NDArray[np.uint64]
    returned: NDArray[np.uint64]
    is_known: NDArray[np.bool_]

    def __getitem__(self, which: slice | NDArray[np.intp]) -> Values:
        """Those of some calls."""
        return Values(self.arguments[which], self.returned[which], self.is_known[which])

    def __iter__(self) -> Iterator[tuple[tuple[int, ...], int | None]]:
        rows = zip(self.arguments.tolist(), self.returned.tolist(), self.is_known.tolist(), strict=True)
        return ((tuple(arguments), returned if is_known else None) for arguments, returned, is_known in rows)


@dataclass(frozen=True, slots=True, eq=False)
class CallTree:
    """The calls of one thread as columns, callers before what they call; iterating makes each a `Call`.

    function, begin, end, depth: shape (calls,); `end` is 0 where the return wasn't seen
    """

    function: NDArray[np.uint32]
    begin: NDArray[np.uint64]
    end: NDArray[np.uint64]
    depth: NDArray[np.int32]
    values: Values | None = None

    def __len__(self) -> int:
        return len(self.function)

    def __iter__(self) -> Iterator[Call]:
        for first in range(0, len(self), _CHUNK):
            yield from self._calls(slice(first, first + _CHUNK))

    def _calls(self, part: slice) -> Iterator[Call]:
        columns = (self.function, self.begin, self.end, self.depth)
        rows = zip(*(column[part].tolist() for column in columns), strict=True)
        if self.values is None:
            return (Call(function, begin, end or None, depth) for function, begin, end, depth in rows)
        return (
            Call(function, begin, end or None, depth, *recorded)
            for (function, begin, end, depth), recorded in zip(rows, self.values[part], strict=True)
        )


def in_order(
    thread: NDArray[np.uint64], begin: NDArray[np.uint64], end: NDArray[np.uint64]
) -> tuple[NDArray[np.intp], list[slice]]:
    """Arranges the calls of all threads: their order (by thread, then by beginning, outer calls first), and the part of
    it that is each thread's. An end of 0 was not seen.
    """
    import numpy as np

    last = np.where(end == _UNSEEN, begin, end)
    order = np.lexsort((~last, begin, thread))
    ordered = thread[order]
    changes = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    bounds = [0, *changes.tolist(), len(order)]
    return order, [slice(first, stop) for first, stop in pairwise(bounds) if first < stop]


def depths(begin: NDArray[np.uint64], end: NDArray[np.uint64], *, is_complete: bool) -> NDArray[np.int32]:
    """How many calls are around each call of one thread. The calls are in order; an end of 0 was not seen.

    is_complete: was every return seen of calls that returned?
    """
    import numpy as np

    found: list[int] = []
    around: list[int] = []  # the ends of the calls under way, the outermost first
    n_ended = 0  # how many of these were seen
    for begins, ends in zip(begin.tolist(), end.tolist(), strict=True):
        while around and not _may_hold(around[-1], begins, ends):
            n_ended -= around.pop() != _UNSEEN
        found.append(len(around))
        if ends or (is_complete and not n_ended):
            around.append(ends)
            n_ended += ends != _UNSEEN
    return np.array(found, np.int32)


def _may_hold(outer_end: int, begin: int, end: int) -> bool:
    """Did a call happen while another one, which began earlier, was under way?"""
    return outer_end == _UNSEEN or (begin < outer_end and end <= outer_end)

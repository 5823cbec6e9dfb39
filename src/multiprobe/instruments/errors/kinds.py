"""Counts equal failures in the kernel: by where they begin, and by how they end.

A *beginning* is an error and the path to the call that failed first. An *end* is a beginning, the function in which
the failure ended, and what that returned. Both have rows in one table (`instruments.keyed_rows`). The key of a
beginning is a digest, so its first failure is sent to the reader as an event; that of an end says all by itself. A
failure thus takes no room of its own, however often it happens, and none is lost because a reader is slow.

When there is no room for another beginning, failures are told apart by their error and the call that failed first
alone, for which some rows are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.instruments import keyed_rows
from multiprobe.instruments.errors.failures import FailedCall, ended
from multiprobe.instruments.errors.frames import FRAMES, FUNCTION, FUNCTION_BITS, LONGEST_PATH, stacks
from multiprobe.instruments.keyed_rows import KEY, MULTIPLIER, NO_ROW, WIDTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

ROW_BITS, SPARE_BITS = 17, 14
"""Of the table's rows, 2^ROW_BITS are for all; the 2^SPARE_BITS after them for beginnings without their paths."""
BEGINNING, OUTERMOST = 1 << 63, 1 << 62
"""Set in the key of a beginning; and in that without a path of an outermost call's."""
ERROR_BITS = 14
ERROR = (1 << ERROR_BITS) - 1
FUNCTION_SHIFT, BEGINNING_SHIFT = ERROR_BITS, ERROR_BITS + FUNCTION_BITS
"""The key of an end: the row of its beginning + 1, the index + 1 of the function, the error (0 if it was handled)."""
COUNT, IS_TOLD = WIDTH, WIDTH + 1
"""Places in a row: how many failures there were; and whether the event of the first one was sent."""

kinds = keyed_rows.make_rows((1 << ROW_BITS) + (1 << SPARE_BITS), 2)
full = mp.Array(mp.u64, 1)
"""Beginnings and ends that were not counted, as the table had no room for them."""


def make_begin(
    tell: Callable[[mp.Context, int, int, int, int, int], bool],
) -> Callable[[mp.Context, int, int, int, int], int]:
    """The helper that counts the beginning of a failure, and tells the first one of its kind.

    It returns the number of the beginning: its row + 1; or 0, if there is no room.
    """
    find_row, find_spare = _finders()

    @mp.helper
    def begin(ctx: mp.Context, row: int, depth: int, call: int, error: int) -> int:
        digest = error << 1 | (1 if depth >= LONGEST_PATH else 0)
        for n in range(LONGEST_PATH):
            function = stacks[row, FRAMES + depth - n] & FUNCTION
            if not function:
                break
            digest = mp.u64((digest + function) * MULTIPLIER)
        kind = find_row(digest | BEGINNING)
        if kind == NO_ROW:
            outermost = 0 if depth else OUTERMOST
            kind = find_spare(BEGINNING | outermost | error << FUNCTION_BITS | stacks[row, FRAMES + depth] & FUNCTION)
        if kind == NO_ROW:
            full[0] += 1
            return 0
        kinds[kind, COUNT] += 1
        if not kinds[kind, IS_TOLD] and tell(ctx, row, depth, call, error, kind + 1):
            kinds[kind, IS_TOLD] = 1
        return kind + 1

    return begin


def make_end() -> Callable[[int, int, int], None]:
    """The helper that counts the end of a failure: the number of its beginning, a function's index + 1, an error."""
    find_row, find_spare = _finders()
    n_rows = 1 << ROW_BITS

    @mp.helper
    def end(beginning: int, frame: int, error: int) -> None:
        if not beginning:
            return
        key = beginning << BEGINNING_SHIFT | frame << FUNCTION_SHIFT | error
        kind = find_row(key)
        if kind == NO_ROW and beginning > n_rows:
            kind = find_spare(key)
        if kind == NO_ROW:
            full[0] += 1
        else:
            kinds[kind, COUNT] += 1

    return end


def _finders() -> tuple[Callable[[int], int], Callable[[int], int]]:
    """The helpers that find rows: among those for all, and among the spare ones."""
    find_row = keyed_rows.make_find_row(kinds, bits=ROW_BITS)
    return find_row, keyed_rows.make_find_row(kinds, bits=SPARE_BITS, first=1 << ROW_BITS)


class Kinds:
    """What is known of each kind of failure, from the events of their first ones."""

    def __init__(self) -> None:
        self._beginnings: dict[int, FailedCall] = {}
        self._ends: dict[int, FailedCall] = {}
        self.n_unknown = 0
        """Failures, when they were last counted, of kinds whose event was dropped."""

    def learn(self, begun: Iterable[tuple[int, FailedCall]]) -> None:
        """Add the first failures of their kinds, each with the number of its beginning."""
        for number, failure in begun:
            self._beginnings[number] = failure if number <= 1 << ROW_BITS else _without_path(failure)

    def failures(self, rows: NDArray[np.uint64], *, is_last: bool) -> Iterator[tuple[FailedCall, int]]:
        """A failure of each kind, and how many there were, from the rows of `kinds`.

        is_last: the rest, of which no end was counted, are failures whose end was not seen
        """
        (used,) = rows[:, KEY].nonzero()
        keys, counts = rows[used, KEY].tolist(), rows[used, COUNT].tolist()
        left = {row + 1: n for row, key, n in zip(used.tolist(), keys, counts, strict=True) if key & BEGINNING}
        self.n_unknown = sum(n for number, n in left.items() if number not in self._beginnings)
        for key, n in zip(keys, counts, strict=True):
            if not key & BEGINNING and (number := key >> BEGINNING_SHIFT) in self._beginnings:
                left[number] -= n
                yield self._end(key), n
        for number, n in left.items():
            failure = self._beginnings.get(number)
            if failure is not None and n > 0 and (is_last or failure.end is not None):
                yield failure, n

    def _end(self, key: int) -> FailedCall:
        known = self._ends.get(key)
        if known is None:
            frame = key >> FUNCTION_SHIFT & FUNCTION
            beginning = self._beginnings[key >> BEGINNING_SHIFT]
            known = self._ends[key] = ended(beginning, frame - 1 if frame else None, key & ERROR)
        return known


def _without_path(failure: FailedCall) -> FailedCall:
    """It stands for failures on other paths, too. Those of outermost calls have no other."""
    return failure if failure.end is not None else failure._replace(path=failure.path[-1:], is_cut=True)

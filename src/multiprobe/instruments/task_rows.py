"""A row of an array for each task, which the task's number finds: programs call no helper for it.

A look-up in a table of the kernel takes a hundred instructions; and what it calls are functions of the kernel, whose
own probes, when all functions are traced, take as many again.

A task's row is the one of its number, or one of those that follow by STRIDE. A row may be taken while no call of its
owner is in progress. Tasks that have ended don't give theirs back. If all rows of a task are in use, it takes that of
another one, whose calls in progress are lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.maps.layout import MAX_PIDS
from multiprobe.maps.specs import RowArray

if TYPE_CHECKING:
    from collections.abc import Callable

N_ROWS = 1 << 14
PROBES, STRIDE = 4, 5381
NO_ROW = N_ROWS
OWNER, STATE, WIDTH = range(3)
"""Places in a row. OWNER: the task, 0 at first. STATE: in its low bits the number of calls in progress."""


def make_rows(width: int) -> RowArray:
    """The rows: `width` values in each, besides OWNER and STATE."""
    return RowArray(mp.u64, N_ROWS, width=WIDTH + width)


@mp.helper
def number_of_task(ctx: mp.Context) -> int:
    """A number below 1 << 23 that identifies the current task; idle tasks, which all have tid 0, by their CPU."""
    return ctx.tid or MAX_PIDS | ctx.cpu


def make_take_row(rows: RowArray, *, busy: int) -> Callable[[int], int]:
    """The helper that finds a task's row; it takes one for a task that has none. `busy`: a mask of STATE.

    It returns NO_ROW if others were faster.
    """

    @mp.helper
    def take(task: int) -> int:
        home = mp.u64(task) & N_ROWS - 1
        for n in range(1, PROBES):
            row = home + n * STRIDE & N_ROWS - 1
            if rows[row, OWNER] == task:
                return row
        for n in range(PROBES):
            row = home + n * STRIDE & N_ROWS - 1
            owner = rows[row, OWNER]
            if not rows[row, STATE] & busy and rows.compare_exchange((row, OWNER), owner, task) == owner:
                rows[row, STATE] = 0
                return row
        owner = rows[home, OWNER]
        if rows.compare_exchange((home, OWNER), owner, task) != owner:
            return NO_ROW
        rows[home, STATE] = 0
        return home

    @mp.helper
    def take_row(task: int) -> int:
        row = mp.u64(task) & N_ROWS - 1
        if rows[row, OWNER] != task:
            row = take(task)
        return row

    return take_row


def make_find_row(rows: RowArray) -> Callable[[int], int]:
    """The helper that finds the row that a task has; NO_ROW if it has none."""

    @mp.helper
    def find(task: int) -> int:
        for n in range(1, PROBES):
            row = (mp.u64(task) & N_ROWS - 1) + n * STRIDE & N_ROWS - 1
            if rows[row, OWNER] == task:
                return row
        return NO_ROW

    @mp.helper
    def find_row(task: int) -> int:
        row = mp.u64(task) & N_ROWS - 1
        if rows[row, OWNER] != task:
            row = find(task)
        return row

    return find_row

"""A table with a row for each pair of a function and a task, in an array (`instruments.keyed_rows`).

Pairs that find no place have their values in a hash table of the kernel, `more`, which takes memory for what is in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import multiprobe as mp
from multiprobe.instruments import keyed_rows
from multiprobe.instruments.keyed_rows import KEY
from multiprobe.maps.specs import RowArray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

ROW_BITS = 16
MORE_VALUES = 1 << 18
"""Of pairs without a row, each of which has five or more."""
TASK_BITS, TASK = 32, (1 << 32) - 1
"""A key is a function's index + 1, and the id of the task in its low bits."""


class TaskTable(NamedTuple):
    """rows: those of pairs that found a place; more: (function index, task, place in a row) → value, of the others."""

    rows: RowArray
    more: mp.Hash


def make_table(width: int) -> TaskTable:
    """The table: `width` values in a row, besides its key."""
    more = mp.Hash((mp.u32, mp.i32, mp.u32), mp.u64, MORE_VALUES, preallocated=False)
    return TaskTable(keyed_rows.make_rows(1 << ROW_BITS, width), more)


def make_find_row(table: RowArray) -> Callable[[int, int], int]:
    """The helper that finds the row of a function and a task, which it makes; NO_ROW if it finds no place."""
    find = keyed_rows.make_find_row(table, bits=ROW_BITS)

    @mp.helper
    def find_row(function: int, who: int) -> int:
        return find(mp.u64(function + 1) << TASK_BITS | mp.u32(who))

    return find_row


def by_pair(
    rows: Iterable[list[int]], more: Mapping[tuple[int, int, int], int], width: int
) -> dict[tuple[int, int], list[int]]:
    """Rows of `width` values by (function index, id of the task): those in use, each with its key, and those that
    `more` has the values of.
    """
    found = {_pair_of(row[KEY]): row for row in rows if row[KEY]}
    for (function, who, place), value in more.items():
        found.setdefault((function, who), [0] * width)[place] = value
    return found


def _pair_of(key: int) -> tuple[int, int]:
    who = key & TASK
    return (key >> TASK_BITS) - 1, who - (1 << TASK_BITS) if who >> TASK_BITS - 1 else who

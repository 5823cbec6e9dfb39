"""A table with a row for each pair of a function and a task, in an array: programs search it themselves.

A look-up in a hash table of the kernel takes more instructions, and what it calls are functions of the kernel, whose
own probes, when all functions are traced, take as many again.

A pair's first place is a hash of its key. If another pair is there, the places that follow by a step, which the hash
gives as well, are tried, up to PROBES. Rows are never given back. Pairs that find no place have their values in a hash
table of the kernel, `more`, which takes memory for what is in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import multiprobe as mp
from multiprobe.maps.specs import RowArray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

ROW_BITS = 16
N_ROWS = 1 << ROW_BITS
PROBES = 64
"""When nine of ten rows are taken, one pair of a thousand finds no place."""
MORE_VALUES = 1 << 18
"""Of pairs without a row, each of which has five or more."""
NO_ROW = N_ROWS
KEY, WIDTH = range(2)
"""The place of a row's key: function index + 1, and the id of the task (32 bits); 0 in a row that is free."""
TASK_BITS, TASK = 32, (1 << 32) - 1
MULTIPLIER = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio: the product's high bits depend on all of the key's."""


class TaskTable(NamedTuple):
    """rows: those of pairs that found a place; more: (function index, task, place in a row) → value, of the others."""

    rows: RowArray
    more: mp.Hash


def make_table(width: int) -> TaskTable:
    """The table: `width` values in a row, besides its key."""
    more = mp.Hash((mp.u32, mp.i32, mp.u32), mp.u64, MORE_VALUES, preallocated=False)
    return TaskTable(RowArray(mp.u64, N_ROWS, width=WIDTH + width), more)


def make_find_row(table: RowArray) -> Callable[[int, int], int]:
    """The helper that finds the row of a function and a task, which it makes; NO_ROW if it finds no place."""

    @mp.helper
    def search(key: int, product: int) -> int:
        step = product >> 32 & N_ROWS - 1 | 1
        for n in range(PROBES):
            row = (product >> 64 - ROW_BITS) + n * step & N_ROWS - 1
            there = table[row, KEY]
            if not there:
                there = table.compare_exchange((row, KEY), 0, key)
                if not there:
                    return row
            if there == key:
                return row
        return NO_ROW

    @mp.helper
    def find_row(function: int, who: int) -> int:
        key = mp.u64(function + 1) << TASK_BITS | mp.u32(who)
        product = mp.u64(key * MULTIPLIER)
        row = product >> 64 - ROW_BITS
        if table[row, KEY] != key:
            row = search(key, product)
        return row

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

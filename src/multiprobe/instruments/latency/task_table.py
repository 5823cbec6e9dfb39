"""A table with a row for each pair of a function and a task, in an array: programs search it themselves.

A look-up in a hash table of the kernel takes more instructions, and what it calls are functions of the kernel, whose
own probes, when all functions are traced, take as many again.

A pair's first place is a hash of its key. If another pair is there, the places that follow by a step, which the hash
gives as well, are tried, up to PROBES. Rows are never given back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.maps.specs import RowArray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ROW_BITS = 16
N_ROWS = 1 << ROW_BITS
PROBES = 64
"""When nine of ten rows are taken, one pair of a thousand finds no place."""
NO_ROW = N_ROWS
KEY, WIDTH = range(2)
"""The place of a row's key: function index + 1, and the id of the task (32 bits); 0 in a row that is free."""
TASK_BITS, TASK = 32, (1 << 32) - 1
MULTIPLIER = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio: the product's high bits depend on all of the key's."""


def make_table(width: int) -> RowArray:
    """The table: `width` values in a row, besides its key."""
    return RowArray(mp.u64, N_ROWS, width=WIDTH + width)


def make_find_row(table: RowArray, full: mp.Array) -> Callable[[int, int], int]:
    """The helper that finds the row of a function and a task, which it makes; NO_ROW, counted in `full`, if it finds no
    place.
    """

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
        full[0] += 1
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


def by_pair(rows: Iterable[list[int]]) -> dict[tuple[int, int], list[int]]:
    """The rows in use by (function index, id of the task), each with its key."""
    return {_pair_of(row[KEY]): row for row in rows if row[KEY]}


def _pair_of(key: int) -> tuple[int, int]:
    who = key & TASK
    return (key >> TASK_BITS) - 1, who - (1 << TASK_BITS) if who >> TASK_BITS - 1 else who

"""Rows of an array that are found by a key: programs search them themselves.

A look-up in a hash table of the kernel takes more instructions, and what it calls are functions of the kernel, whose
own probes, when all functions are traced, take as many again.

A key's first place is a hash of it. If another key is there, the places that follow by a step, which the hash gives as
well, are tried, up to PROBES. Rows are never given back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.maps.specs import RowArray

if TYPE_CHECKING:
    from collections.abc import Callable

PROBES = 64
"""When nine of ten rows are taken, one key of a thousand finds no place."""
NO_ROW = 1 << 24
"""Stands for a row where there is none; no table has so many."""
KEY, WIDTH = range(2)
"""The place of a row's key in it; 0 in a row that is free."""
MULTIPLIER = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio: the product's high bits depend on all of the key's."""


def make_rows(n_rows: int, width: int) -> RowArray:
    """The rows: `width` values in each, besides its key."""
    return RowArray(mp.u64, n_rows, width=WIDTH + width)


def make_find_row(rows: RowArray, *, bits: int, first: int = 0) -> Callable[[int], int]:
    """The helper that finds the row of a key, which it makes; NO_ROW if it finds no place. Keys are not 0.

    It looks among the 2^bits rows from `first` on.
    """
    n_rows, shift = 1 << bits, 64 - bits
    n_probes = PROBES

    @mp.helper
    def search(key: int, product: int) -> int:
        step = product >> 32 & n_rows - 1 | 1
        for n in range(n_probes):
            row = first + ((product >> shift) + n * step & n_rows - 1)
            there = rows[row, KEY]
            if not there:
                there = rows.compare_exchange((row, KEY), 0, key)
                if not there:
                    return row
            if there == key:
                return row
        return NO_ROW

    @mp.helper
    def find_row(wanted: int) -> int:
        key = mp.u64(wanted)
        product = mp.u64(key * MULTIPLIER)
        row = first + (product >> shift)
        if rows[row, KEY] != key:
            row = search(key, product)
        return row

    return find_row

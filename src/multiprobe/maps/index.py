"""Maps a function's address to its index among the attached functions, in a constant number of steps. Pure.

A two-level table that programs read as plain memory: a directory by bits 16 to 30 of the address (all kernel text,
modules included, lies within 2 GB), then blocks with one entry for each 1 << shift bytes. An entry is the function's
index + 1; 0 is an unknown address.

    0                 a block of zeros, for absent directory entries
    block_size        the directory: offsets of blocks, 32 bits each
    …                 the blocks
"""

from __future__ import annotations

from _bisect import bisect_left
from array import array
from itertools import islice
from operator import lt
from typing import TYPE_CHECKING, NamedTuple

from multiprobe.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

BLOCK_BITS = 16
DIRECTORY_SIZE = 4 << 15
SHIFTS = (4, 2, 0)
"""Functions are 16-byte aligned on kernels that pad calls (all with IBT); the others are tried where they are not."""


class FunctionIndex(NamedTuple):
    """The table ('I'), the shift that programs must be compiled for, and the last offset that they may form."""

    table: array[int]
    shift: int
    limit: int


def block_size(shift: int) -> int:
    """Bytes of one block."""
    return 4 << (BLOCK_BITS - shift)


def build_index(addresses: Sequence[int], *, base: int = 0) -> FunctionIndex:
    """The table for functions at `addresses`, whose places in the sequence are their indices, counted from `base`.

    Raises UsageError for an address that is listed twice, or addresses that are 2 GB and more apart. Fastest for
    ascending addresses.
    """
    given = list(addresses)
    ordered = sorted(given)
    shift, units = _units(ordered)
    blocks = _blocks(ordered)
    entries, first = block_size(shift) // 4, (block_size(shift) + DIRECTORY_SIZE) // 4
    table = array("I", [0]) * (first + len(blocks) * entries)
    order = None if ordered == given else sorted(range(len(given)), key=given.__getitem__)
    entry = base
    for start, (number, low, high) in zip(range(first, len(table), entries), blocks, strict=True):
        table[entries + number % (DIRECTORY_SIZE // 4)] = 4 * start
        offset = start - (number << (BLOCK_BITS - shift))
        for unit in units[low:high]:  # every nanosecond here is paid for each of 45,000 functions
            entry += 1
            table[unit + offset] = entry if order is None else order[entry - base - 1] + base + 1
    return FunctionIndex(table, shift, 4 * (len(table) - 1))


def find_shift(addresses: Sequence[int]) -> int:
    """The shift of their table, without the table. Raises UsageError for an address that is listed twice."""
    return _units(sorted(addresses))[0]


def _units(ordered: list[int]) -> tuple[int, list[int]]:
    """The coarsest shift under which no two of the ascending addresses fall together, and the addresses shifted."""
    for shift in SHIFTS:
        units = [address >> shift for address in ordered]
        if all(map(lt, units, islice(units, 1, None))):
            return shift, units
    raise UsageError("a function is listed twice")


def _blocks(ordered: list[int]) -> list[tuple[int, int, int]]:
    """The blocks that the ascending addresses lie in: number, first and last place (exclusive)."""
    found, low = [], 0
    while low < len(ordered):
        number = ordered[low] >> BLOCK_BITS
        high = bisect_left(ordered, (number + 1) << BLOCK_BITS, low)
        found.append((number, low, high))
        low = high
    if found and found[-1][0] - found[0][0] >= DIRECTORY_SIZE // 4:
        raise UsageError("the functions' addresses are more than 2 GB apart: that is not one kernel's text")
    return found

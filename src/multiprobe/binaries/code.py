"""Looks at the code of many functions of a file, in pieces: of which kind is the first instruction of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from multiprobe.binaries.instructions import BEGINNINGS, LONGEST, Kind, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from multiprobe.elf import ElfBytes

PIECE = 1 << 20
_MAY_BE = np.zeros((256, 256), np.bool_)
for _first, _second in BEGINNINGS.items():
    _MAY_BE[_first, list(_second)] = True


def instruction_kinds(data: ElfBytes, offsets: Sequence[int]) -> dict[int, Kind]:
    """The kinds of the instructions at `offsets` of `data`, by their places there; without those that are of none."""
    given = np.array(offsets, np.uint64)
    order = np.argsort(given, kind="stable")
    found: dict[int, Kind] = {}
    for part in _pieces(given[order]):
        codes = _suspects(data, given[order[part]])
        found |= {int(order[part][place]): kind for place, code in codes if (kind := kind_of(code)) is not None}
    return found


def _pieces(ascending: NDArray[np.uint64]) -> Iterator[slice]:
    """Slices of the offsets that lie in one piece of the file each."""
    first = 0
    while first < len(ascending):
        last = int(np.searchsorted(ascending, ascending[first] + np.uint64(PIECE)))
        yield slice(first, last)
        first = last


def _suspects(data: ElfBytes, offsets: NDArray[np.uint64]) -> Iterator[tuple[int, bytes]]:
    """The places in `offsets`, all in one piece, with two bytes that may begin one of the kinds; and the code there."""
    start, stop = int(offsets[0]), int(offsets[-1]) + LONGEST
    piece = data[start:stop].ljust(stop - start, b"\0")
    found = np.frombuffer(piece, np.uint8)
    at = (offsets - offsets[0]).astype(np.int64)
    for place in np.flatnonzero(_MAY_BE[found[at], found[at + 1]]).tolist():
        begin = int(at[place])
        yield place, piece[begin : begin + LONGEST]

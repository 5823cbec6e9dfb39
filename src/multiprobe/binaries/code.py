"""Looks at the code of many functions of a file, in pieces: which of them begin with certain bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from multiprobe.elf import ElfBytes

PIECE = 1 << 20


def starting_with(data: ElfBytes, offsets: Sequence[int], prefix: bytes) -> list[int]:
    """The places in `offsets` at which `data` has the bytes of `prefix`, ascending."""
    given = np.array(offsets, np.uint64)
    order = np.argsort(given, kind="stable")
    found = [order[part][_has(data, given[order[part]], prefix)] for part in _pieces(given[order])]
    return sorted(np.concatenate(found).tolist()) if found else []


def _pieces(ascending: NDArray[np.uint64]) -> Iterator[slice]:
    """Slices of the offsets that lie in one piece of the file each."""
    first = 0
    while first < len(ascending):
        last = int(np.searchsorted(ascending, ascending[first] + np.uint64(PIECE)))
        yield slice(first, last)
        first = last


def _has(data: ElfBytes, offsets: NDArray[np.uint64], prefix: bytes) -> NDArray[np.bool_]:
    start, stop = int(offsets[0]), int(offsets[-1]) + len(prefix)
    piece = np.frombuffer(data[start:stop].ljust(stop - start, b"\0"), np.uint8)
    at = (offsets - offsets[0]).astype(np.int64)
    wanted = np.frombuffer(prefix, np.uint8)
    begins: NDArray[np.bool_] = (piece[at[:, None] + np.arange(len(prefix))] == wanted).all(axis=1)
    return begins

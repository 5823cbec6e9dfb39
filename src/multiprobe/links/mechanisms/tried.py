"""Which instructions of a file this kernel can probe, remembered so that no run tries them twice.

A file for each binary in the cache directory, which belongs to one build of the kernel and one state of the binary. A
damaged one is as good as none.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from struct import Struct
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

from multiprobe.cachedir import cache_directory, drop_old, read_own, write_own

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable

    from numpy.typing import NDArray

KEPT = 64
_NAMES = re.compile("uprobes-[0-9a-f]{32}")
_HEAD = Struct("<QQQ")


def _offsets(found: Iterable[int] = ()) -> NDArray[np.uint64]:
    return np.unique(np.fromiter(found, np.uint64))


@dataclass(slots=True)
class Tried:
    """Offsets in one file, ascending: `good` ones can be probed, `refused` ones not."""

    path: str
    good: NDArray[np.uint64] = field(default_factory=_offsets)
    refused: NDArray[np.uint64] = field(default_factory=_offsets)

    @classmethod
    def load(cls, key: tuple[int, ...]) -> Tried:
        """What is remembered of the file with this `BinaryFile.key`."""
        system = os.uname()
        identity = repr((system.release, system.version, system.machine, key)).encode()
        name = f"uprobes-{hashlib.sha256(identity).hexdigest()[:32]}"
        path = os.path.join(cache_directory(), name)
        return cls(path, *parse_tried(read_own(path) or b""))

    def look_up(self, offsets: array[int]) -> tuple[list[int], list[int]]:
        """The places in `offsets` of those that can't be probed, and of those that were not tried."""
        is_refused = np.isin(offsets, self.refused)
        is_new = ~(np.isin(offsets, self.good) | is_refused)
        return np.flatnonzero(is_refused).tolist(), np.flatnonzero(is_new).tolist()

    def add(self, good: Iterable[int], refused: Iterable[int]) -> None:
        """Remember more offsets."""
        self.good = np.union1d(self.good, _offsets(good))
        self.refused = np.union1d(self.refused, _offsets(refused))
        if write_own(self.path, format_tried(self.good, self.refused)):
            drop_old(os.path.dirname(self.path), _NAMES, keep=KEPT)


def format_tried(good: NDArray[np.uint64], refused: NDArray[np.uint64]) -> bytes:
    """The content of the file: a checksum, two numbers, and so many offsets that can be probed, and that can't."""
    offsets = good.tobytes() + refused.tobytes()
    return _HEAD.pack(crc32(offsets), len(good), len(refused)) + offsets


def parse_tried(data: bytes) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The offsets that can be probed, and those that can't; none from damaged data."""
    if len(data) < _HEAD.size:
        return _offsets(), _offsets()
    checksum, n_good, n_refused = _HEAD.unpack_from(data)
    rest = data[_HEAD.size :]
    if len(rest) != 8 * (n_good + n_refused) or crc32(rest) != checksum:
        return _offsets(), _offsets()
    offsets = np.frombuffer(rest, np.uint64)
    return offsets[:n_good], offsets[n_good:]

"""Which instructions of a file this kernel can probe, remembered so that no run tries them twice.

A file for each binary in the cache directory, which belongs to one build of the kernel and one state of the binary. A
damaged one is as good as none.
"""

from __future__ import annotations

import hashlib
import os
import re
from array import array
from dataclasses import dataclass, field
from struct import Struct
from typing import TYPE_CHECKING
from zlib import crc32

from multiprobe.cachedir import cache_directory, drop_old, read_own, write_own

if TYPE_CHECKING:
    from collections.abc import Iterable

KEPT = 64
_NAMES = re.compile("uprobes-[0-9a-f]{32}")
_HEAD = Struct("<QQQ")


@dataclass(slots=True)
class Tried:
    """Offsets in one file: `good` ones can be probed, `refused` ones not."""

    path: str
    good: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)

    @classmethod
    def load(cls, key: tuple[int, ...]) -> Tried:
        """What is remembered of the file with this `BinaryFile.key`."""
        system = os.uname()
        identity = repr((system.release, system.version, system.machine, key)).encode()
        name = f"uprobes-{hashlib.sha256(identity).hexdigest()[:32]}"
        path = os.path.join(cache_directory(), name)
        return cls(path, *parse_tried(read_own(path) or b""))

    def add(self, good: Iterable[int], refused: Iterable[int]) -> None:
        """Remember more offsets."""
        self.good.update(good)
        self.refused.update(refused)
        if write_own(self.path, format_tried(self.good, self.refused)):
            drop_old(os.path.dirname(self.path), _NAMES, keep=KEPT)


def format_tried(good: set[int], refused: set[int]) -> bytes:
    """The content of the file: a checksum, two numbers, and so many offsets that can be probed, and that can't."""
    offsets = array("Q", [*sorted(good), *sorted(refused)]).tobytes()
    return _HEAD.pack(crc32(offsets), len(good), len(refused)) + offsets


def parse_tried(data: bytes) -> tuple[set[int], set[int]]:
    """The offsets that can be probed, and those that can't; none from damaged data."""
    if len(data) < _HEAD.size:
        return set(), set()
    checksum, n_good, n_refused = _HEAD.unpack_from(data)
    rest = data[_HEAD.size :]
    if len(rest) != 8 * (n_good + n_refused) or crc32(rest) != checksum:
        return set(), set()
    offsets = array("Q", rest)
    return set(offsets[:n_good]), set(offsets[n_good:])

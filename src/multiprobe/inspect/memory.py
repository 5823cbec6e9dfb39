"""Reads kernel memory through /proc/kcore, an ELF core file whose program headers map addresses to file offsets.

`parse_segments` is pure; `KernelMemory` owns the file descriptor.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from types import TracebackType

from multiprobe.errors import DataError, NotPermittedError, NotSupportedError

KCORE = "/proc/kcore"
PAGE_SIZE = 4096
_IDENT = b"\x7fELF\x02\x01"  # 64 bits, little-endian
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
_PT_LOAD = 1
_MAX_HEADERS = 4096


@dataclass(frozen=True, slots=True)
class Segment:
    """The `size` bytes of memory at `address` are at `offset` in the file."""

    address: int
    size: int
    offset: int


def parse_segments(head: bytes) -> tuple[Segment, ...]:
    """The memory segments in the header of a core file. `DataError` if it isn't one, or is truncated."""
    if len(head) < _HEADER.size or not head.startswith(_IDENT):
        raise DataError("kcore: no 64-bit little-endian ELF file")
    fields = _HEADER.unpack_from(head)
    start, width, count = fields[5], fields[9], fields[10]
    if width < _PROGRAM_HEADER.size or count > _MAX_HEADERS:
        raise DataError(f"kcore: {count} program headers of {width} bytes each")
    if start + width * count > len(head):
        raise DataError(f"kcore is cut off at byte {len(head)}: its program headers reach to {start + width * count}")
    segments = []
    for index in range(count):
        kind, _, offset, address, _, size, _, _ = _PROGRAM_HEADER.unpack_from(head, start + width * index)
        if kind == _PT_LOAD and size:
            segments.append(Segment(address, size, offset))
    return tuple(segments)


def find_segment(segments: tuple[Segment, ...], address: int, size: int) -> Segment | None:
    """The segment that holds all of these bytes."""
    for segment in segments:
        if segment.address <= address and address + size <= segment.address + segment.size:
            return segment
    return None


class KernelMemory:
    """Reads kernel memory; close it when done."""

    def __init__(self, path: str = KCORE) -> None:
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise NotSupportedError(f"{path} doesn't exist", hint="the kernel needs CONFIG_PROC_KCORE=y") from error
        except PermissionError as error:
            raise NotPermittedError(
                f"{path} can't be opened: {error.strerror}",
                hint="this takes root with CAP_SYS_RAWIO, and a kernel that isn't locked down",
            ) from error
        try:
            self.segments = parse_segments(self._head())
        except BaseException:
            self.close()
            raise

    def _head(self) -> bytes:
        head = os.pread(self._fd, PAGE_SIZE, 0)
        if len(head) >= _HEADER.size:
            fields = _HEADER.unpack_from(head)
            wanted = min(fields[5], PAGE_SIZE) + fields[9] * min(fields[10], _MAX_HEADERS)
            if wanted > len(head):
                head = os.pread(self._fd, wanted, 0)
        return head

    def read(self, address: int, size: int) -> bytes | None:
        """`size` bytes at `address`, or None where no such memory is."""
        segment = find_segment(self.segments, address, size)
        if segment is None or size <= 0:
            return None
        try:
            data = os.pread(self._fd, size, segment.offset + address - segment.address)
        except OSError:
            return None  # memory that went away, or that the kernel won't show
        return data if len(data) == size else None

    def number(self, address: int, size: int = 8) -> int | None:
        """The unsigned number of `size` bytes at `address`, or None where no such memory is."""
        data = self.read(address, size)
        return None if data is None else int.from_bytes(data, "little")

    def text(self, address: int, size: int = 64) -> str | None:
        """The NUL-terminated string at `address`, of at most `size` bytes."""
        data = self.read(address, size)
        return None if data is None else data.split(b"\0", 1)[0].decode(errors="replace")

    def close(self) -> None:
        """Close the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> KernelMemory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

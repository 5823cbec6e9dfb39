"""Reads kernel memory through /proc/kcore, an ELF core file whose program headers map addresses to file offsets."""

from __future__ import annotations

import os

from multiprobe.elf import PT_LOAD, Segment, parse_segments, segments_end
from multiprobe.errors import DataError, NotPermittedError, NotSupportedError, errno_name
from multiprobe.names import decode_name
from multiprobe.syscalls.fd import Closing

KCORE = "/proc/kcore"
PAGE_SIZE = 4096
_MAX_HEAD = 1 << 20


def find_segment(segments: tuple[Segment, ...], address: int, size: int) -> Segment | None:
    """The segment that holds all of these bytes."""
    for segment in segments:
        if segment.address <= address and address + size <= segment.address + segment.size:
            return segment
    return None


class KernelMemory(Closing):
    """Reads kernel memory; close it when done."""

    def __init__(self, path: str = KCORE) -> None:
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise NotSupportedError(f"opening {path}: ENOENT", hint="the kernel needs CONFIG_PROC_KCORE=y") from error
        except PermissionError as error:
            raise NotPermittedError(
                f"opening {path}: {errno_name(error.errno or 0)}",
                hint="run as root with CAP_SYS_RAWIO, on a kernel that isn't locked down",
            ) from error
        try:
            self.segments = self._read_segments(path)
        except BaseException:
            self.close()
            raise

    def _read_segments(self, path: str) -> tuple[Segment, ...]:
        try:
            wanted = min(segments_end(os.pread(self._fd, PAGE_SIZE, 0)), _MAX_HEAD)
            found = parse_segments(os.pread(self._fd, wanted, 0))
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        return tuple(segment for segment in found if segment.kind == PT_LOAD and segment.size)

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
        return None if data is None else decode_name(data)

    def close(self) -> None:
        """Close the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

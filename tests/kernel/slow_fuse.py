"""A FUSE file system with one file, whose reads take as long as it is told: `with mounted(directory, delay) as file`.

It speaks the kernel's protocol itself (include/uapi/linux/fuse.h, version 7.31), so that no library is needed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LOOKUP, FORGET, GETATTR, OPEN, READ, RELEASE, FLUSH, INIT, BATCH_FORGET = 1, 2, 3, 14, 15, 18, 25, 26, 42
ROOT, FILE = 1, 2
DIRECT_IO = 1
"""Of an open file: every read asks the server."""
BLOCK = bytes(4096)
_REQUEST = struct.Struct("<IIQQIIIHH")
_ANSWER = struct.Struct("<IiQ")
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def mounted(directory: Path, seconds: float) -> Iterator[Path]:
    """Mount it; the path of its file, each of whose reads takes at least so long."""
    fd = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fd},rootmode={stat.S_IFDIR:o},user_id=0,group_id=0".encode()
    if _libc.mount(b"slow", os.fsencode(directory), b"fuse.slow", 0, options):
        raise OSError(ctypes.get_errno(), "mounting a FUSE file system")
    server = os.fork()
    if not server:
        _serve(fd, seconds)
    os.close(fd)
    try:
        yield directory / "file"
    finally:
        _libc.umount2(os.fsencode(directory), 0)
        os.waitpid(server, 0)


def _serve(fd: int, seconds: float) -> None:
    """Answer requests until the file system is unmounted."""
    while True:
        try:
            data = os.read(fd, 1 << 20)
        except OSError as error:
            if error.errno == errno.ENODEV:  # unmounted
                os._exit(0)
            raise
        _, operation, unique, node, *_ = _REQUEST.unpack_from(data)
        if operation in (FORGET, BATCH_FORGET):
            continue
        if operation == READ:
            _busy(seconds)
        answer = _ANSWERS[operation](node) if operation in _ANSWERS else -errno.ENOSYS
        body, number = (b"", answer) if isinstance(answer, int) else (answer, 0)
        os.write(fd, _ANSWER.pack(_ANSWER.size + len(body), number, unique) + body)


def _busy(seconds: float) -> None:
    """Work and don't sleep: an emulated processor that has slept is slower in all that it does next."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def _attributes(node: int) -> bytes:
    mode, size = (stat.S_IFDIR | 0o755, 0) if node == ROOT else (stat.S_IFREG | 0o444, 1 << 30)
    return struct.pack("<6Q10I", node, size, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def _init(_: int) -> bytes:
    return struct.pack("<4I2H2I2H8I", 7, 31, 0, 0, 0, 0, 4096, 1, 0, 0, *(0,) * 8)


_ANSWERS: dict[int, Callable[[int], bytes]] = {
    INIT: _init,
    LOOKUP: lambda _: struct.pack("<4Q2I", FILE, 0, 3600, 3600, 0, 0) + _attributes(FILE),
    GETATTR: lambda node: struct.pack("<QII", 3600, 0, 0) + _attributes(node),
    OPEN: lambda _: struct.pack("<QII", 0, DIRECT_IO, 0),
    READ: lambda _: BLOCK,
    RELEASE: lambda _: b"",
    FLUSH: lambda _: b"",
}

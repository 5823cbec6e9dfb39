"""Makes system calls: the only module that calls into libc.

`call` returns -errno for a failed call, as the kernel does; the typed functions in this package turn that into errors
that say what was tried.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from multiprobe import arch
from multiprobe.syscalls.fd import NewDescriptor
from multiprobe.uapi.bpf import OPENING

if TYPE_CHECKING:
    from collections.abc import Callable

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc["syscall"]
_syscall.restype = ctypes.c_long
_opening_syscall = _libc["syscall"]
_opening_syscall.restype = NewDescriptor


BPF = arch.system_call_number("bpf")
PERF_EVENT_OPEN = arch.system_call_number("perf_event_open")


def opens(nr: int, *arguments: int) -> bool:
    """Whether the system call returns a descriptor."""
    return nr == PERF_EVENT_OPEN or (nr == BPF and arguments[0] in OPENING)


def _real_kernel(nr: int, *arguments: int) -> int | NewDescriptor:
    if opens(nr, *arguments):
        opened: NewDescriptor = _opening_syscall(ctypes.c_long(nr), *map(ctypes.c_long, arguments))
        return -ctypes.get_errno() if opened.value < 0 else opened
    result: int = _syscall(ctypes.c_long(nr), *map(ctypes.c_long, arguments))
    return -ctypes.get_errno() if result < 0 else result


_kernel: Callable[..., int | NewDescriptor] = _real_kernel


def call(nr: int, *arguments: int) -> int:
    """Make a system call that returns a number; that number, or -errno."""
    result = _kernel(nr, *arguments)
    assert isinstance(result, int)
    return result


def call_opening(nr: int, *arguments: int) -> NewDescriptor | int:
    """Make a system call that returns a descriptor; the descriptor, or -errno."""
    result = _kernel(nr, *arguments)
    return NewDescriptor(result) if isinstance(result, int) and result >= 0 else result


class using:  # noqa: N801  (read as a verb: `with raw.using(fake): …`)
    """While entered, system calls go to `kernel(nr, *arguments) -> result or -errno` instead: the seam for tests."""

    def __init__(self, kernel: Callable[..., int | NewDescriptor]) -> None:
        self._other = kernel

    def _swap(self) -> None:
        global _kernel
        _kernel, self._other = self._other, _kernel

    def __enter__(self) -> None:
        self._swap()

    def __exit__(self, *_: object) -> None:
        self._swap()


def address_of(buffer: bytearray) -> int:
    """Where `buffer` lies in memory; valid while the caller keeps it alive and at its size."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer)) if buffer else 0


def c_string(text: bytes) -> bytearray:
    """A NUL-terminated copy of `text`, to be passed by `address_of`."""
    return bytearray(text + b"\0")

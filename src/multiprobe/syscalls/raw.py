"""The one funnel through which system calls leave: numbers by architecture, errno by value.

Nothing else in the project calls into libc. `call` never raises for a failed call: it answers -errno, as the
kernel does, and the typed functions beside this module turn that into errors that say what was tried.
"""

from __future__ import annotations

import _ctypes  # what `ctypes` is made of: importing that takes longer than attaching a hundred functions
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_NUMBERS = {
    "x86_64": {"bpf": 321, "perf_event_open": 298, "membarrier": 324},
    "aarch64": {"bpf": 280, "perf_event_open": 241, "membarrier": 283},
}


class _Long(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "l"


class _Char(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "c"


class _Function(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
    _restype_ = _Long


_this_process = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]
_syscall = _Function(_ctypes.dlsym(_this_process, "syscall"))


def number(name: str) -> int:
    """The number of system call `name` on this machine, or -1 (which the kernel answers with ENOSYS)."""
    return _NUMBERS.get(os.uname().machine, {}).get(name, -1)


BPF = number("bpf")
PERF_EVENT_OPEN = number("perf_event_open")


def _real_kernel(nr: int, *arguments: int) -> int:
    result: int = _syscall(_Long(nr), *map(_Long, arguments))
    return -_ctypes.get_errno() if result < 0 else result


_kernel: Callable[..., int] = _real_kernel


def call(nr: int, *arguments: int) -> int:
    """Make system call `nr`; its result, or -errno."""
    return _kernel(nr, *arguments)


class using:  # noqa: N801  (read as a verb: `with raw.using(fake): …`)
    """While entered, system calls go to `kernel(nr, *arguments) -> result or -errno` instead: the seam for tests."""

    def __init__(self, kernel: Callable[..., int]) -> None:
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
    return _ctypes.addressof(_Char.from_buffer(buffer)) if buffer else 0


def c_string(text: bytes) -> bytearray:
    """A NUL-terminated copy of `text`, to be passed by `address_of`."""
    return bytearray(text + b"\0")

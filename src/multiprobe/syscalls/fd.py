"""Owns file descriptors: exactly one object closes each."""

from __future__ import annotations

import ctypes
import os
import warnings
from typing import TYPE_CHECKING
from weakref import WeakSet

if TYPE_CHECKING:
    from typing import Self


class Closing:
    """Base of classes that own something and have `close`: leaving a `with` block closes them."""

    __slots__ = ()

    def close(self) -> None:
        """Give back what the object owns."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class NewDescriptor(ctypes.c_long):
    """A descriptor as a system call returns it: closed with this object.

    ctypes makes the object before any Python code can run. A signal handler that raises (Ctrl-C) at any later moment
    therefore finds the descriptor owned.
    """

    def close(self) -> None:
        """Close the descriptor. Closing again does nothing."""
        fd, self.value = self.value, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()


class FileDescriptor(Closing):
    """Owns one descriptor of a kernel object; `what` names it in messages ("program count", "link …").

    Closing is idempotent. Forgetting to close is a ResourceWarning, and the descriptor is closed then. A forked child
    owns none: its copies are closed as it starts, so that the kernel detaches when the parent closes or dies.
    """

    __slots__ = ("__weakref__", "_descriptor", "what")

    def __init__(self, fd: int | NewDescriptor, what: str) -> None:
        self._descriptor = fd if isinstance(fd, NewDescriptor) else NewDescriptor(fd)
        self.what = what
        _open.add(self)

    def fileno(self) -> int:
        """The descriptor, or ValueError once closed."""
        if self.is_closed:
            raise ValueError(f"{self.what} is closed")
        return self._descriptor.value

    @property
    def is_closed(self) -> bool:
        return self._descriptor.value < 0

    def close(self) -> None:
        """Give the descriptor back to the kernel."""
        self._descriptor.close()

    def __del__(self) -> None:
        if hasattr(self, "_descriptor") and not self.is_closed:
            warnings.warn(f"{self.what} was never closed", ResourceWarning, source=self, stacklevel=2)
            self.close()

    def __repr__(self) -> str:
        return f"<FileDescriptor {'closed' if self.is_closed else self._descriptor.value}: {self.what}>"


_open: WeakSet[FileDescriptor] = WeakSet()


def _close_inherited() -> None:
    for descriptor in list(_open):
        descriptor.close()


os.register_at_fork(after_in_child=_close_inherited)

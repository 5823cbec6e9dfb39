"""Ownership of file descriptors: exactly one object closes each."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType


class FileDescriptor:
    """Owns one descriptor of a kernel object; `what` names it in messages ("program count", "link …").

    Closing is idempotent. Forgetting to close is a ResourceWarning, and the descriptor is closed then.
    """

    __slots__ = ("_fd", "what")

    def __init__(self, fd: int, what: str) -> None:
        self._fd = fd
        self.what = what

    def fileno(self) -> int:
        """The descriptor, or ValueError once closed."""
        if self._fd < 0:
            raise ValueError(f"{self.what} is closed")
        return self._fd

    @property
    def is_closed(self) -> bool:
        return self._fd < 0

    def close(self) -> None:
        """Give the descriptor back to the kernel."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> FileDescriptor:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            warnings.warn(f"{self.what} was never closed", ResourceWarning, source=self, stacklevel=2)
            self.close()

    def __repr__(self) -> str:
        return f"<FileDescriptor {self._fd if self._fd >= 0 else 'closed'}: {self.what}>"

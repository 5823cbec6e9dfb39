"""The terminal as textual's thread writes to it: never waited for when it is gone, nor for ever after the end.

A thread that writes to a terminal fails when the terminal is closed, and stands still while nobody reads it (Ctrl-S, a
connection that hangs). textual then waits for its thread without end, and what is attached stays attached.
"""

from __future__ import annotations

import os
import select
from io import TextIOBase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

_EVERY = 0.1
_LAST_SECONDS = 2.0
"""How long a terminal may stand still after the end: then what is left isn't shown."""


class ScreenFile(TextIOBase):
    """Writes to `terminal`. What can't be written any more is dropped.

    on_gone: called once if the terminal is gone; is_over: whether the view has ended
    """

    def __init__(self, terminal: TextIO, is_over: Callable[[], bool], on_gone: Callable[[], object]) -> None:
        self._terminal = terminal
        self._is_over = is_over
        self._on_gone = on_gone
        self._is_gone = False
        self._fd = _opened_anew(terminal.fileno())

    def write(self, text: str) -> int:
        """Write all of it, or nothing more from now on."""
        if not self._is_gone:
            try:
                self._write(text.encode(self._terminal.encoding, self._terminal.errors or "replace"))
            except OSError:
                self._is_gone = True
                self._on_gone()
        return len(text)

    def _write(self, data: bytes) -> None:
        waited = 0.0
        while data:
            if self._is_ready():
                data = data[self._write_some(data) :]
            elif self._is_over():
                waited += _EVERY
                if waited > _LAST_SECONDS:
                    raise TimeoutError("nobody reads this terminal")

    def _is_ready(self) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        return bool(poll.poll(_EVERY * 1000))

    def _write_some(self, data: bytes) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0

    def fileno(self) -> int:
        """The terminal's own descriptor."""
        return self._terminal.fileno()

    def isatty(self) -> bool:
        """True."""
        return True

    def close(self) -> None:
        """Close what was opened; the terminal stays open."""
        if not self.closed:
            if self._fd != self._terminal.fileno():
                os.close(self._fd)
            super().close()


def _opened_anew(fd: int) -> int:
    """A descriptor that never waits, without changing the one that the shell has, too; else this one."""
    try:
        return os.open(os.ttyname(fd), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:  # a terminal of another mount namespace
        return fd

"""Puts the user's terminal into raw mode for a guest's program, and always restores it."""

from __future__ import annotations

import contextlib
import os
import termios
import time
import tty
from collections.abc import Callable, Iterator

_INTERRUPT = b"\x03"
_UNANSWERED = 3


@contextlib.contextmanager
def raw(fd: int) -> Iterator[None]:
    """Pass keys through as they are (Ctrl-C too), until left."""
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def window_size(fd: int) -> tuple[int, int]:
    """Rows and columns."""
    size = os.get_terminal_size(fd)
    return size.lines or 24, size.columns or 80


class Impatience:
    """Detects a user who presses Ctrl-C repeatedly while the guest doesn't answer.

    `n_answered()` counts the bytes that the guest has sent; a guest that is alive at least echoes `^C`.
    """

    def __init__(self, n_answered: Callable[[], int], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._n_answered = n_answered
        self._clock = clock
        self._presses: list[tuple[float, int]] = []

    def feed(self, keys: bytes) -> bool:
        """Whether these keys complete three unanswered Ctrl-C, the first at least a second ago."""
        now, answered = self._clock(), self._n_answered()
        self._presses = [press for press in self._presses if press[1] == answered]
        self._presses += [(now, answered)] * keys.count(_INTERRUPT)
        return len(self._presses) >= _UNANSWERED and now - self._presses[0][0] >= 1

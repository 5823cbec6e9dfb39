"""Says on stderr what takes longer than a second: a line that is redrawn on a terminal, else a line at begin and end.

A thread waits beside the work, which is mostly one system call. rich is imported only when there is something to draw.
"""

from __future__ import annotations

import contextlib
import sys
import time
from threading import Lock, Timer
from typing import TYPE_CHECKING

from multiprobe import threads
from multiprobe.errors import KernelError
from multiprobe.output.terminal import can_redraw, write_lines

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self, TextIO

    from rich.progress import Progress as Bar

_PATIENCE = 1.0
_MEGA = 1_000_000
_NOBODY_LISTENS = (OSError, ValueError)


class Progress:
    """Context manager around work that may take long: `with Progress("attaching to 40,000 functions") as progress:`.

    `update` says how much of it is done, `step` what is done next. A terminal is left clean.
    """

    def __init__(
        self, what: str = "", *, file: TextIO | None = None, patience: float = _PATIENCE, is_bytes: bool = False
    ) -> None:
        """is_bytes: amounts are numbers of bytes, not of things"""
        self._is_bytes = is_bytes
        self._file = sys.stderr if file is None else file
        self._patience = patience
        self._lock = Lock()
        self._what = what
        self._timer: Timer | None = None
        self._bar: Bar | None = None
        self._amount = (0, 0)
        self._has_line = False

    def update(self, done: int, total: int) -> None:
        """So much of `total` is done."""
        self._amount = (done, total)
        with self._lock:
            if self._bar is not None:
                amount = amount_text(done, total, is_bytes=self._is_bytes)
                self._bar.update(self._bar.task_ids[0], completed=done, total=total or None, amount=amount)

    def step(self, what: str, done: int = 0, total: int = 0, *, is_for_terminal: bool = False) -> None:
        """From now on it is `what` that takes long ("": nothing).

        is_for_terminal: where there is no terminal, this step isn't mentioned
        """
        if what != self._what:
            self._end(is_good=True)
            self._begin(what, is_for_terminal=is_for_terminal)
        self.update(done, total)

    def __enter__(self) -> Self:
        self._begin(self._what)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(is_good=kind is None)

    def _begin(self, what: str, *, is_for_terminal: bool = False) -> None:
        self._what, self._amount, self._began = what, (0, 0), time.monotonic()
        if what and (not is_for_terminal or self._file.isatty()):
            self._timer = timer = Timer(self._patience, lambda: self._speak(timer))
            timer.daemon = True
            with contextlib.suppress(KernelError):  # no thread: nothing is shown
                threads.start(timer, "progress")

    def _speak(self, timer: Timer) -> None:
        bar = self._make_bar() if can_redraw(self._file) else None
        with self._lock, contextlib.suppress(*_NOBODY_LISTENS):
            if timer is not self._timer:  # it has ended meanwhile
                return
            if bar is None:
                self._has_line = True
                write_lines([f"{self._what} …"], self._file)
            else:
                self._bar = bar
                bar.start()
        self.update(*self._amount)

    def _make_bar(self) -> Bar:
        from multiprobe.output.bar import make_bar

        return make_bar(self._file, self._what)

    def _end(self, *, is_good: bool) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with self._lock, contextlib.suppress(*_NOBODY_LISTENS):
            bar, self._bar, self._timer = self._bar, None, None
            has_line, self._has_line = self._has_line, False
            if bar is not None:
                bar.stop()
            elif has_line and is_good:
                write_lines([f"{self._what}: done in {time.monotonic() - self._began:.1f} s"], self._file)


def amount_text(done: int, total: int, *, is_bytes: bool) -> str:
    """How much of how much; nothing where there is no total."""
    if not total:
        return ""
    return f"{done / _MEGA:.0f} of {total / _MEGA:.0f} MB" if is_bytes else f"{done:,} of {total:,}"

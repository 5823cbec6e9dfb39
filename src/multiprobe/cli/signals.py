"""Waits for the end of a measurement: a time, Ctrl-C, SIGTERM, or the exit of a process. What signals do meanwhile."""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType, TracebackType

TWICE = 0.3
"""A signal within so many seconds of the first is ignored as its duplicate."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible() -> Iterator[None]:
    """Within the block, SIGTERM and SIGHUP do what Ctrl-C does."""
    numbers = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


class Until:
    """`wait(seconds)` returns True after the end; `why` is its cause: "time", "signal", "process" or "user".

    Signal handlers are installed while the context is active. The first signal only marks the end, so that the results
    can be shown. A second one has its usual effect, unless it comes with the first: timeout(1) sends each signal twice,
    to the process and to its group.
    """

    def __init__(self, *, duration: float | None = None, process_fds: Sequence[int] = ()) -> None:
        self._deadline = None if duration is None else time.monotonic() + duration
        self._process_fds = tuple(process_fds)
        self._before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}
        self._first = 0.0
        self.why = ""

    def __enter__(self) -> Until:
        self._wake_out, self._wake_in = os.pipe()
        os.set_blocking(self._wake_in, False)
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # of nohup and background jobs
                self._before[number] = signal.signal(number, self._mark)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
        os.close(self._wake_out)
        os.close(self._wake_in)

    def wait(self, seconds: float) -> bool:
        """Wait at most so long. Returns whether the end has come."""
        if self._deadline is not None:
            seconds = min(seconds, self._deadline - time.monotonic())
        ready = self._poll(max(0.0, seconds))
        if not self.why and any(fd in ready for fd in self._process_fds):
            self.why = "process"
        if not self.why and self._deadline is not None and time.monotonic() >= self._deadline:
            self.why = "time"
        return bool(self.why)

    def end(self) -> None:
        """End it, for the user: `wait` returns at once, in any thread."""
        self.why = self.why or "user"
        os.write(self._wake_in, b"!")

    def _poll(self, seconds: float) -> set[int]:
        poll = select.poll()
        for fd in (self._wake_out, *self._process_fds):
            poll.register(fd, select.POLLIN)
        return {fd for fd, _ in poll.poll(seconds * 1000)}

    def _mark(self, number: int, _frame: FrameType | None) -> None:
        if not self._first:
            self._first = time.monotonic()
            self.why = self.why or "signal"
            os.write(self._wake_in, b"!")
        elif time.monotonic() - self._first > TWICE:
            self._restore()
            os.kill(os.getpid(), number)

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)

"""Saying on stderr what takes long, once it has taken longer than a second. Cheap when nothing does.

A thread waits beside the work, since the work is mostly one system call, during which nothing else can happen.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import TextIO

_PATIENCE = 1.0


class Progress:
    """Context manager around a piece of work that may take long: `with Progress("attaching to 40,000 functions"):`.

    Says nothing for the first second. Then a terminal gets one line, redrawn every second and wiped at the end; a file
    gets one line when the wait begins and one when it ends.
    """

    def __init__(self, what: str, *, file: TextIO | None = None, patience: float = _PATIENCE) -> None:
        self._what = what
        self._file = sys.stderr if file is None else file
        self._patience = patience
        self._working = threading.Lock()
        self._done = threading.Lock()
        self._has_spoken = False
        self._done_of = (0, 0)

    def update(self, done: int, n: int) -> None:
        """So many of `n` are done: shown with the next redrawing, where there is one."""
        self._done_of = (done, n)

    def __enter__(self) -> Progress:
        self._began = time.monotonic()
        self._working.acquire()
        self._done.acquire()
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._working.release()
        self._done.acquire()
        if self._has_spoken:
            self._say_end(is_good=kind is None)

    def _watch(self) -> None:
        try:
            while not self._working.acquire(timeout=self._patience):
                self._say()
        finally:
            self._done.release()

    def _say(self) -> None:
        try:
            if self._file.isatty():
                seconds = round(time.monotonic() - self._began)
                done, n = self._done_of
                far = f", {done:,} of {n:,} done" if n else ""
                self._file.write(f"\r\x1b[K{self._what}{far} … {seconds} s")
            elif not self._has_spoken:
                self._file.write(f"{self._what} …\n")
            self._file.flush()
        except (OSError, ValueError):  # nobody listens
            pass
        self._has_spoken = True

    def _say_end(self, *, is_good: bool) -> None:
        seconds = time.monotonic() - self._began
        try:
            if self._file.isatty():
                self._file.write("\r\x1b[K")
            elif is_good:
                self._file.write(f"{self._what}: done in {seconds:.1f} s\n")
            self._file.flush()
        except (OSError, ValueError):
            pass

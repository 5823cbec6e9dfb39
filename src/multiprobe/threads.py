"""Starts threads, with an error of ours where the kernel refuses to (EAGAIN of clone(2))."""

from __future__ import annotations

import errno
from threading import Event, Thread

from multiprobe.errors import KernelError


def start(thread: Thread, purpose: str) -> None:
    """Start a thread. Raises KernelError."""
    try:
        thread.start()
    except RuntimeError as error:  # "can't start new thread", for any errno
        hint = "there are too many threads (ulimit -u, pids.max), or too little memory for one more"
        raise KernelError("starting a thread", errno.EAGAIN, subject=purpose, hint=hint) from error


def require(n: int, purpose: str) -> None:
    """Raise KernelError unless so many threads can run at once: for libraries that hang where one can't be started."""
    end = Event()
    threads = [Thread(target=end.wait, name=purpose, daemon=True) for _ in range(n)]
    started = []
    try:
        for thread in threads:
            start(thread, purpose)
            started.append(thread)
    finally:
        end.set()
        for thread in started:
            thread.join()

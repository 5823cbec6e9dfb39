"""Starts threads, with an error of ours where the kernel refuses to (EAGAIN of clone(2)); `uninterrupted` does work
that Ctrl-C doesn't cut off.
"""

from __future__ import annotations

import errno
import resource
from mmap import mmap
from threading import Event, Thread
from typing import TYPE_CHECKING

from multiprobe.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Callable

_BEGINNING = 1 << 20
"""Bytes, more than a thread takes until it runs its function."""
_USUAL_STACK = 8 << 20
_TRIES = 3


def start(thread: Thread, purpose: str) -> None:
    """Start a thread. Raises KernelError.

    `Thread.start` waits for ever for a thread that finds no memory for its first frame (CPython issue 140746). So what
    it takes to begin is asked for first.
    """
    try:
        mmap(-1, _stack_size() + _BEGINNING).close()
        thread.start()
    except (OSError, RuntimeError) as error:  # "can't start new thread", for any errno
        hint = "there are too many threads (ulimit -u, pids.max), or too little memory for one more"
        raise KernelError("starting a thread", errno.EAGAIN, subject=purpose, hint=hint) from error


def _stack_size() -> int:
    """Bytes of address space that a thread's stack takes, at most."""
    limit, _ = resource.getrlimit(resource.RLIMIT_STACK)
    return _USUAL_STACK if limit == resource.RLIM_INFINITY else limit


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


def uninterrupted(work: Callable[[], object]) -> None:
    """Do `work` to its end, though the handler of a signal may raise meanwhile (Ctrl-C); that is raised afterwards.

    work: what can be done again, as closing can: it is, where an exception cut it off. In this thread, which may hold
        locks that the work takes.
    """
    raised: BaseException | None = None
    for _ in range(_TRIES):
        try:
            work()
            break
        except BaseException as error:
            raised = raised or error
    if raised is not None:
        raise raised

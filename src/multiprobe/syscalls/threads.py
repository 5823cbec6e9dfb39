"""Starts threads, with an error of ours where the kernel refuses to (EAGAIN of clone(2))."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from multiprobe.errors import KernelError

if TYPE_CHECKING:
    from threading import Thread


def start(thread: Thread, purpose: str) -> None:
    """Start a thread. Raises KernelError."""
    try:
        thread.start()
    except RuntimeError as error:  # "can't start new thread", for any errno
        hint = "there are too many threads (ulimit -u, pids.max), or too little memory for one more"
        raise KernelError("starting a thread", errno.EAGAIN, subject=purpose, hint=hint) from error

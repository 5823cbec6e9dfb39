"""Doing the same work on many items, in several threads.

Detaching a link waits for a grace period under a lock (bpf_event_mutex), closing a perf event for another one
(event_mutex). Many threads keep both locks busy at once.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from threading import Lock, Thread
from time import sleep
from typing import TYPE_CHECKING, Protocol, TypeVar

from multiprobe import threads
from multiprobe.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
T = TypeVar("T")
DETACHING = 32
"""Threads that close links."""
_FEW = 4


class Closable(Protocol):
    """Something that owns descriptors."""

    def close(self) -> None:
        """Give them back."""


def close_all(owners: Sequence[Closable]) -> None:
    """Close all of them, many at a time; also when interrupted."""
    try:
        if len(owners) >= _FEW:
            in_parallel(lambda owner: owner.close(), owners, n_threads=DETACHING)
    finally:
        for owner in owners:  # those that an interruption left; closing twice does nothing
            owner.close()


def in_parallel(work: Callable[[T], object], items: Iterable[T], *, n_threads: int) -> None:
    """Do `work` on every item, in this thread and others; the first error stops the rest and is raised.

    Where no thread can be started, this one does everything.
    """
    pending = iter(items)
    lock = Lock()
    errors: list[BaseException] = []

    def take() -> list[T]:
        with lock:
            return list(islice(pending, 1))

    def drain() -> None:
        try:
            while not errors and (item := take()):
                work(item[0])
        except BaseException as error:
            errors.append(error)

    helpers: list[Thread] = []
    try:
        with suppress(KernelError):
            for _ in range(n_threads - 1):
                helpers.append(Thread(target=drain))  # before it is started, so that Ctrl-C finds it
                threads.start(helpers[-1], "closing and attaching")
        drain()
        wait(helpers)
    except BaseException as interrupted:  # Ctrl-C: each thread ends its present item
        errors.append(interrupted)
        wait(helpers)
    if errors:
        raise errors[0]


def wait(helpers: Iterable[Thread]) -> None:
    """Wait until all that were started have ended."""
    for helper in helpers:
        while helper.ident is not None:
            try:
                helper.join()
                break
            except RuntimeError:  # it is just beginning
                sleep(0.001)

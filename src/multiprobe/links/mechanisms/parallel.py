"""Attaching and detaching links one by one, several at a time.

Attaching works under the kernel's locks and hardly waits (ftrace looks through all of its call sites for each kprobe,
seen on 6.1 to 7.3), so a few threads are all that helps. Detaching waits: for a grace period under a lock at a link
(bpf_event_mutex), for another one at a perf event (event_mutex). Many threads keep both locks busy at once.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Protocol, TypeVar

from multiprobe.errors import KernelError, VerifierError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from multiprobe.links.mechanisms.link import Link
    from multiprobe.links.mechanisms.linked import Linked, LinkRequest

T = TypeVar("T")
ATTACHING, DETACHING = 4, 32
"""Threads at work."""
_FEW = 4


class Closable(Protocol):
    """Something that owns descriptors."""

    def close(self) -> None:
        """Give them back."""


def attach_each(open_one: Callable[[int, str], Link], request: LinkRequest, linked: Linked) -> None:
    """Open a link for each side of each function of `request`, and put them into `linked`.

    `open_one(position, side)`: a KernelError from it is that function's refusal; any other error is raised.
    """
    opened: dict[int, list[Link]] = {}
    refused: dict[int, int] = {}

    def work(position: int) -> None:
        try:
            opened[position] = _open_sides(open_one, position, request.sides)
        except VerifierError:
            raise  # the program is at fault, not the function
        except KernelError as error:
            refused[position] = error.errno
        if request.progress:
            request.progress(len(opened) + len(refused))

    try:
        in_parallel(work, range(len(request.indices)), n_threads=ATTACHING)
    finally:
        linked.links += [link for position in sorted(opened) for link in opened[position]]
    linked.refused |= {request.indices[position]: number for position, number in refused.items()}


def _open_sides(open_one: Callable[[int, str], Link], position: int, sides: Iterable[str]) -> list[Link]:
    """Links on all sides of one function, or none."""
    opened: list[Link] = []
    try:
        for side in sides:
            opened.append(open_one(position, side))
    except BaseException:
        for link in opened:
            link.close()
        raise
    return opened


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
    lock = threading.Lock()
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

    pool = ThreadPoolExecutor(n_threads)
    try:
        with suppress(RuntimeError):  # "can't start new thread"
            for _ in range(n_threads - 1):
                pool.submit(drain)
        drain()
        pool.shutdown()
    except BaseException as interrupted:  # Ctrl-C: each thread ends its present item
        errors.append(interrupted)
        pool.shutdown()
    if errors:
        raise errors[0]

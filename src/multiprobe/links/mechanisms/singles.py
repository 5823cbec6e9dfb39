"""Attaching functions one link each, several at a time, and detaching them many at a time.

Attaching works under the kernel's locks and hardly waits (ftrace looks through all of its call sites for each kprobe,
seen on 6.1 to 7.3), so that a few threads are all that helps. Detaching waits: for a grace period under a lock at a
link (bpf_event_mutex), for another one at a perf event (event_mutex). Many threads keep both locks busy at once.

Knows how to spread the work over threads and to bring it back in order, not the mechanism.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from multiprobe.errors import KernelError, VerifierError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeVar

    from multiprobe.syscalls.fd import FileDescriptor

    T = TypeVar("T")

ATTACHING, DETACHING = 4, 32
"""Threads at work."""


def attach_each(
    open_one: Callable[[int], list[FileDescriptor]],
    items: Sequence[int],
    *,
    progress: Callable[[int], None] | None = None,
) -> tuple[dict[int, list[FileDescriptor]], dict[int, int]]:
    """(descriptors by item, errno by refused item); `open_one(item)` opens all that one item takes.

    Any other error closes everything opened so far and is raised.
    """
    opened: dict[int, list[FileDescriptor]] = {}
    refused: dict[int, int] = {}

    def work(item: int) -> None:
        try:
            opened[item] = open_one(item)
        except VerifierError:
            raise  # the program's fault, not the function's
        except KernelError as error:
            refused[item] = error.errno
        if progress:
            progress(len(opened) + len(refused))

    try:
        in_parallel(work, items, n_threads=ATTACHING)
    except BaseException:
        close_all(opened.values())
        raise
    return opened, refused


def open_sides(open_side: Callable[[str], list[FileDescriptor]], sides: Iterable[str]) -> list[FileDescriptor]:
    """What all sides of one function take, or nothing: an error closes what was opened before it."""
    opened: list[FileDescriptor] = []
    try:
        for side in sides:
            opened += open_side(side)
    except BaseException:
        for fd in opened:
            fd.close()
        raise
    return opened


def close_all(chains: Iterable[Sequence[FileDescriptor]]) -> None:
    """Close all of them: the members of a chain in their order, many chains at a time."""
    chains = list(chains)
    if len(chains) < 4:
        for chain in chains:
            _close(chain)
    else:
        in_parallel(_close, chains, n_threads=DETACHING)


def _close(chain: Sequence[FileDescriptor]) -> None:
    for fd in chain:
        fd.close()


def in_parallel(work: Callable[[T], None], items: Iterable[T], *, n_threads: int) -> None:
    """Do `work` on every item, in that many threads; the first error stops the rest and is raised."""
    pending = iter(items)
    lock = threading.Lock()
    errors: list[BaseException] = []

    def loop() -> None:
        while not errors:
            with lock:
                try:
                    item = next(pending)
                except StopIteration:
                    return
            try:
                work(item)
            except BaseException as error:
                errors.append(error)

    threads = [threading.Thread(target=loop, daemon=True) for _ in range(n_threads)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException as interrupted:  # Ctrl-C: let each thread end its present item
        errors.append(interrupted)
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]

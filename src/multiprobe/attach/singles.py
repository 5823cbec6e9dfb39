"""Attaching functions one link each, many at a time: every one of them waits for a grace period of the kernel.

Knows how to spread the work over threads and to bring it back in order, not the mechanism.
"""

from __future__ import annotations

from multiprobe.errors import KernelError, VerifierError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeVar

    from multiprobe.syscalls.fd import FileDescriptor

    T = TypeVar("T")

WORKERS = 32


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
        in_parallel(work, items)
    except BaseException:
        close_all([fd for fds in opened.values() for fd in fds])
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


def close_all(descriptors: Sequence[FileDescriptor]) -> None:
    """Close all of them, in parallel: each close waits for the kernel's grace periods."""
    if len(descriptors) < 4:
        for fd in descriptors:
            fd.close()
    else:
        in_parallel(lambda fd: fd.close(), descriptors)


def in_parallel(work: Callable[[T], None], items: Iterable[T]) -> None:
    """Do `work` on every item, in up to WORKERS threads; the first error stops the rest and is raised."""
    import threading

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

    threads = [threading.Thread(target=loop, daemon=True) for _ in range(WORKERS)]
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

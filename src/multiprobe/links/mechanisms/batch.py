"""Attaching many functions by one link: all that can be attached, whatever the kernel thinks of the rest.

Knows the procedure (try, find the culprits, attach the rest; halve when memory is short), not the mechanism, which
comes as `open_link`.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from multiprobe.errors import KernelError
from multiprobe.links.mechanisms.bisect import NoCulpritError, find_culprits
from multiprobe.links.mechanisms.meaning import is_about_the_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from multiprobe.kernel.mechanism import Mechanism
    from multiprobe.syscalls.fd import FileDescriptor

    OpenLink = Callable[[Sequence[int]], FileDescriptor]

_SMALLEST_HALF = 64
_MAX_ROUNDS = 4


def attach_batch(
    open_link: OpenLink, items: Sequence[int], *, mechanism: Mechanism
) -> tuple[list[FileDescriptor], dict[int, int]]:
    """Links on all of `items` but the culprits, and each culprit's errno.

    Nearly always one link. Two or more only where the kernel lacks the memory for one. Raises KernelError (or
    NotPermittedError) when the fault lies with no function; nothing is attached then.
    """
    culprits: dict[int, int] = {}
    good = items
    for _ in range(_MAX_ROUNDS):
        if not good:
            return [], culprits
        try:
            return [open_link(good)], culprits
        except KernelError as error:
            if error.errno == errno.ENOMEM and len(good) > _SMALLEST_HALF:
                return _attach_halves(open_link, good, culprits, mechanism=mechanism)
            if is_about_the_batch(mechanism, error.errno):
                raise
            culprits |= _culprits(open_link, good, error)
            good = [item for item in good if item not in culprits]
    raise KernelError(
        "attaching a batch", errno.EAGAIN, subject=f"{len(good)} functions: new ones are refused each time"
    )


def _culprits(open_link: OpenLink, items: Sequence[int], error: KernelError) -> dict[int, int]:
    def attempt(part: Sequence[int]) -> int:
        try:
            open_link(part).close()
        except KernelError as refused:
            is_too_many = refused.errno == errno.ENOMEM and len(part) > _SMALLEST_HALF
            return 0 if is_too_many else refused.errno
        return 0

    try:
        return find_culprits(items, attempt, errno=error.errno)
    except NoCulpritError:
        raise error from None


def _attach_halves(
    open_link: OpenLink, items: Sequence[int], culprits: dict[int, int], *, mechanism: Mechanism
) -> tuple[list[FileDescriptor], dict[int, int]]:
    # Linux kernels 6.7 to 6.11 allocate per-function memory for return probes in one piece.
    links: list[FileDescriptor] = []
    middle = len(items) // 2
    try:
        for half in (items[:middle], items[middle:]):
            more, guilty = attach_batch(open_link, half, mechanism=mechanism)
            links += more
            culprits = culprits | guilty
    except BaseException:
        for link in links:
            link.close()
        raise
    return links, culprits

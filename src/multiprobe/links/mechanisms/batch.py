"""Attaches many functions by one link, and leaves out those that the kernel refuses.

Tries all, finds the functions that the kernel refuses, attaches the others; halves the batch when memory is short.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from multiprobe.errors import KernelError
from multiprobe.links.mechanisms.bisect import NoCulpritError, find_culprits
from multiprobe.links.mechanisms.errnos import is_about_the_batch
from multiprobe.plurals import plural_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from multiprobe.links.mechanisms.link import Link
    from multiprobe.links.mechanisms.linked import Linked

    OpenLink = Callable[[Sequence[int]], Link]
    """Opens one link on the functions at these positions."""

_SMALLEST_HALF = 64
_MAX_ROUNDS = 4


def attach_batch(open_link: OpenLink, positions: Sequence[int], linked: Linked, *, indices: Sequence[int]) -> None:
    """Put links on all of `positions` but the culprits into `linked`, and each culprit's errno by its index.

    Nearly always one link; two or more only where the kernel lacks the memory for one. Raises KernelError (or
    NotPermittedError) when the fault lies with no function.
    """
    good = positions
    for _ in range(_MAX_ROUNDS):
        if not good:
            return
        try:
            linked.links.append(open_link(good))
            return
        except KernelError as error:
            if error.errno == errno.ENOMEM and len(good) > _SMALLEST_HALF:
                # Linux kernels 6.7 to 6.11 allocate per-function memory for return probes in one piece.
                middle = len(good) // 2
                attach_batch(open_link, good[:middle], linked, indices=indices)
                attach_batch(open_link, good[middle:], linked, indices=indices)
                return
            if is_about_the_batch(linked.mechanism, error.errno):
                raise
            culprits = _culprits(open_link, good, error)
            linked.refused |= {indices[position]: number for position, number in culprits.items()}
            good = [position for position in good if position not in culprits]
    raise KernelError(
        "attaching a batch",
        errno.EAGAIN,
        subject=f"{plural_text(len(good), 'function')}: new ones are refused each time",
    )


def _culprits(open_link: OpenLink, positions: Sequence[int], error: KernelError) -> dict[int, int]:
    def attempt(part: Sequence[int]) -> int:
        try:
            open_link(part).close()
        except KernelError as refused:
            is_too_many = refused.errno == errno.ENOMEM and len(part) > _SMALLEST_HALF
            return 0 if is_too_many else refused.errno
        return 0

    try:
        return find_culprits(positions, attempt, errno=error.errno)
    except NoCulpritError:
        raise error from None

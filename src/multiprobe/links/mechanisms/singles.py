"""Attaching functions by a link each, several at a time.

Attaching works under the kernel's locks and hardly waits (ftrace looks through all of its call sites for each kprobe,
seen on 6.1 to 7.3), so a few threads are all that helps.
"""

from __future__ import annotations

import errno
import resource
from typing import TYPE_CHECKING

from multiprobe.errors import KernelError, VerifierError
from multiprobe.links.mechanisms.parallel import in_parallel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from multiprobe.links.mechanisms.link import Link
    from multiprobe.links.mechanisms.linked import Linked, LinkRequest

THREADS = 4
SPARE = 16
"""Descriptors that are given back where they ran out: files must be read, programs started, pipes made."""


def attach_each(open_one: Callable[[int, str], Link], request: LinkRequest, linked: Linked) -> None:
    """Open a link for each side of each function of `request`, and put them into `linked`.

    `open_one(position, side)`: a KernelError from it is that function's refusal; any other error is raised. So is the
    verifier's, unless the program may fit some functions only, and fits one.
    """
    raise_descriptor_limit()
    opened: dict[int, list[Link]] = {}
    refused: dict[int, int] = {}
    misfits: dict[int, VerifierError] = {}

    def work(position: int) -> None:
        try:
            opened[position] = _open_sides(open_one, position, request.sides)
        except VerifierError as error:
            if not request.may_misfit:
                raise  # the program is at fault, not the function
            misfits[position] = error
        except KernelError as error:
            refused[position] = error.errno
        if request.progress:
            request.progress(len(opened) + len(refused) + len(misfits))

    try:
        in_parallel(work, range(len(request.indices)), n_threads=THREADS)
        _give_back(opened, refused)
    finally:
        linked.links += [link for position in sorted(opened) for link in opened[position]]
    if misfits and not opened:
        raise misfits[min(misfits)]
    linked.verdicts |= {request.indices[position]: error.cause for position, error in misfits.items()}
    refused |= {position: error.errno for position, error in misfits.items()}
    linked.refused |= {request.indices[position]: number for position, number in refused.items()}


def _give_back(opened: dict[int, list[Link]], refused: dict[int, int]) -> None:
    """Where descriptors ran out, detach the last functions again, until SPARE ones are free."""
    if errno.EMFILE not in refused.values():
        return
    n_free = 0
    for position in sorted(opened, reverse=True):
        if n_free >= SPARE:
            return
        for link in opened.pop(position):
            link.close()
            n_free += 2
        refused[position] = errno.EMFILE


def raise_descriptor_limit() -> int:
    """Raise the soft limit of descriptors to the hard one, which needs no right; the limit now.

    Each function takes two descriptors on each side: its link, and its program or perf event.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):
        return soft
    return hard


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

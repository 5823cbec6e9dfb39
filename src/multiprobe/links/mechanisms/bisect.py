"""Finds the functions that make the kernel refuse a whole batch, by bisection."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_CULPRITS_IN_A_ROW = 24
"""So many functions refused, and not one accepted: the fault is not the functions'."""


class NoCulpritError(Exception):
    """The batch is refused, but no function of it is to blame alone; `errno` is the whole batch's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.errno = number


def find_culprits(items: Sequence[int], attempt: Callable[[Sequence[int]], int], *, errno: int) -> dict[int, int]:
    """Which of `items` are refused, each with its errno, given that all together were refused with `errno`.

    `attempt(part)` attaches a part, undoes it, and answers 0 or the errno. Each culprit costs about 2·log2(n)
    attempts. Raises NoCulpritError when the parts are accepted but not the whole, or when nothing is accepted.
    """
    culprits: dict[int, int] = {}
    has_accepted = False
    pending: list[tuple[Sequence[int], int]] = [(items, errno)]  # parts known to be refused, and why
    while pending:
        part, number = pending.pop()
        if len(part) == 1:
            culprits[part[0]] = number
            if not has_accepted and len(culprits) > MAX_CULPRITS_IN_A_ROW:
                raise NoCulpritError(errno)
            continue
        middle = len(part) // 2
        left, right = part[:middle], part[middle:]
        left_errno, right_errno = attempt(left), attempt(right)
        has_accepted = has_accepted or not (left_errno and right_errno)
        if not left_errno and not right_errno:
            raise NoCulpritError(number)
        if right_errno:
            pending.append((right, right_errno))
        if left_errno:
            pending.append((left, left_errno))
    return culprits

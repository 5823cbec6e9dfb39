"""Runs that missed nothing, for tests of exact results.

A trampoline's program may be preempted (7.3 is built so); the kernel then keeps the programs of other tasks from
running on that CPU, and counts that. Any task on the machine can be the cause, so such a run says nothing about
multiprobe.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Run = TypeVar("Run")

TRIES = 10


def complete(
    run: Callable[[], Run],
    missed: Callable[[Run], dict[str, int]],
    *,
    is_right: Callable[[Run], bool] = lambda _: False,
) -> Run:
    """The first run that missed nothing, or whose result is right all the same.

    The misses are those of all tasks on the machine, so they may not concern the result. Fails where each of `TRIES`
    runs missed something, and none was right.
    """
    seen = {}
    for _ in range(TRIES):
        result = run()
        seen = {cause: n for cause, n in missed(result).items() if n}
        if not seen or is_right(result):
            return result
    raise AssertionError(f"something was missed in each of {TRIES} runs: {seen}")

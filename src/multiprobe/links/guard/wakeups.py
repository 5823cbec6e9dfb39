"""Measures how late timers wake this process, and compares that with an earlier measurement."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from multiprobe.kernel.pressure import load_stalled

if TYPE_CHECKING:
    from collections.abc import Callable

PAUSE = 0.002
"""Seconds between two wake-ups that are timed."""
_TIMES_WORSE, _AT_LEAST = 8.0, 0.02
_STALLED_MORE, _STALLED_LATE = 0.5, 0.005


class WakeupLatency(NamedTuple):
    """Wake-ups of a timer: how many, and how many seconds too late: the median, nine in ten, and the worst.

    `stalled`: the share of the time in which some task waited for a CPU (PSI), None where the kernel doesn't tell.
    """

    n: int
    median: float
    p90: float
    worst: float
    stalled: float | None = None


def measure(seconds: float, *, wait: Callable[[float], object] = time.sleep, pause: float = PAUSE) -> WakeupLatency:
    """Ask to be woken again and again for so long, or until `wait` says True. At least one wake-up is timed."""
    began, stalled = time.monotonic(), load_stalled()
    late: list[float] = []
    now = began
    while not late or now - began < seconds:
        is_over = wait(pause)
        woken = time.monotonic()
        late.append(max(0.0, woken - now - pause))
        now = woken
        if is_over:
            break
    late.sort()
    after = load_stalled()
    share = None if stalled is None or after is None else min(1.0, (after - stalled) / max(now - began, 1e-9))
    return WakeupLatency(len(late), late[len(late) // 2], late[len(late) * 9 // 10], late[-1], share)


def suffering(before: WakeupLatency, now: WakeupLatency) -> str:
    """In which way the machine suffers, in words, compared with `before`; "" if it doesn't.

    It does if one wake-up in ten is 20 ms late, and eight times as late as it was; or if tasks wait for a CPU for half
    the time more than before, and wake-ups are later by 5 ms.
    """
    late = f"a timer wakes {1000 * now.p90:.0f} ms late (before: {1000 * before.p90:.1f} ms)"
    if now.p90 > max(_AT_LEAST, _TIMES_WORSE * before.p90):
        return late
    if now.stalled is None or before.stalled is None or now.p90 <= before.p90 + _STALLED_LATE:
        return ""
    if now.stalled - before.stalled <= _STALLED_MORE:
        return ""
    return f"{late}, and tasks wait for a CPU {now.stalled:.0%} of the time (before: {before.stalled:.0%})"

"""Chooses the functions to drop so that probes keep their budget, from hits and the cost of a hit. Pure.

Hits are dictionaries without the functions that were not hit: of thousands, few are hit in an interval.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Hits = Mapping[int, int]
    """By function index; those that weren't hit are left out."""

GOAL = 0.7
"""Whoever is over budget is brought down to this part of it, so that the next small rise doesn't cost a relink."""
SHORTEST_BUSY_WINDOW = 0.5
"""Seconds below which the kernel's tick (10 ms) is too coarse to say how busy the CPUs were."""
_BLOCK = 512
"""Bytes of a row of counters that are compared at once."""
_LEAST_BUSY = 0.1
"""A machine counts as at least this busy (of one CPU): 5 % of nothing would be nothing."""


class Window(NamedTuple):
    """What happened in `seconds`: `hits` on each CPU; `busy`, the CPU seconds not spent idle, or None."""

    seconds: float
    hits: Sequence[Hits]
    busy: float | None = None


def scopes(window: Window) -> list[tuple[Hits, float]]:
    """(hits by function, the time they are to be compared with, in seconds) for each way to look at a window.

    Each CPU by itself: a busy one must not be slowed because fifty others are idle. And all together against the time
    that they were busy: a thread that wanders over idle CPUs is on none of them for long.
    """
    found = [(row, window.seconds) for row in window.hits]
    if window.busy is not None and window.seconds >= SHORTEST_BUSY_WINDOW and len(window.hits) > 1:
        together: dict[int, int] = {}
        for row in window.hits:
            for index, n in row.items():
                together[index] = together.get(index, 0) + n
        found.append((together, max(window.busy, _LEAST_BUSY * window.seconds)))
    return found


def changes(before: bytes, after: bytes) -> dict[int, int]:
    """How much each counter of 64 bits grew between two copies of a row of them, for those that did.

    Compares blocks first: most of a long row stands still.
    """
    found: dict[int, int] = {}
    if before == after:
        return found
    for start in range(0, len(after), _BLOCK):
        then, now = before[start : start + _BLOCK], after[start : start + _BLOCK]
        if then != now:
            pairs = zip(memoryview(now).cast("Q"), memoryview(then).cast("Q"), strict=True)
            found |= {index: n - m for index, (n, m) in enumerate(pairs, start // 8) if n != m}
    return found


def share(window: Window, prices: Sequence[float] | Mapping[int, float]) -> float:
    """The largest share of time that probes took in any scope; `prices` are nanoseconds per hit, by function."""
    return max((spent(hits, prices) / (1e9 * seconds) for hits, seconds in scopes(window) if seconds > 0), default=0.0)


def spent(hits: Hits, prices: Sequence[float] | Mapping[int, float]) -> float:
    """Nanoseconds that all hits cost."""
    return float(sum(n * prices[index] for index, n in hits.items()))


def choose_drops(window: Window, prices: Sequence[float] | Mapping[int, float], budget: float) -> list[int]:
    """The functions to do without, dearest first, so that no scope stays above the budget; none if none is above.

    The fewest that do: in each scope the dearest go until the rest is below GOAL of what is allowed.
    """
    dropped: dict[int, None] = {}
    for hits, seconds in scopes(window):
        costs = {index: n * prices[index] for index, n in hits.items() if index not in dropped}
        total, allowed = sum(costs.values()), budget * 1e9 * seconds
        if total <= allowed:
            continue
        for index in sorted(costs, key=costs.__getitem__, reverse=True):
            if total <= GOAL * allowed:
                break
            total -= costs[index]
            dropped[index] = None
    return list(dropped)


def rates(window: Window, functions: Iterable[int]) -> dict[int, float]:
    """Hits a second of these functions, over all CPUs."""
    return {index: sum(row.get(index, 0) for row in window.hits) / window.seconds for index in functions}

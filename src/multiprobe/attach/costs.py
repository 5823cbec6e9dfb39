"""What attaching and what a hit costs, by mechanism: the figures that the planner decides with.

In instructions of the whole guest, measured under `-icount` on 6.12 and 7.3 in emulated guests: `attach` per
function in a large batch (attach and detach together), `hit` per call of an empty program above the unprobed call.
Single mechanisms wait for a grace period per function besides, which dwarfs their instructions; `is_batch` tells.
"""

from __future__ import annotations

from multiprobe.kernel.mechanism import Mechanism
from multiprobe.values import value


@value
class Cost:
    """Of one mechanism on one side: instructions per function to attach and detach, and per hit."""

    attach: int
    hit: int
    is_batch: bool


COSTS = {
    ("entry", Mechanism.KPROBE_MULTI): Cost(19_000, 248, True),
    ("return", Mechanism.KPROBE_MULTI): Cost(28_000, 713, True),
    ("session", Mechanism.KPROBE_MULTI): Cost(26_000, 830, True),
    ("entry", Mechanism.TRACING_MULTI): Cost(130_000, 112, True),
    ("return", Mechanism.TRACING_MULTI): Cost(133_000, 171, True),
    ("session", Mechanism.TRACING_MULTI): Cost(168_000, 276, True),
    ("entry", Mechanism.TRAMPOLINE): Cost(50_000_000, 112, False),
    ("return", Mechanism.TRAMPOLINE): Cost(50_000_000, 171, False),
    ("session", Mechanism.TRAMPOLINE): Cost(50_000_000, 276, False),
    ("entry", Mechanism.KPROBE): Cost(60_000_000, 325, False),
    ("return", Mechanism.KPROBE): Cost(60_000_000, 631, False),
    ("session", Mechanism.KPROBE): Cost(120_000_000, 956, False),
}

EXPECTED_HITS = 1_000_000
"""Hits that an attachment is taken to see in its life, all functions together: more than a glance, less than a day."""


def by_cost(mechanisms: list[int], *, when: str, n: int) -> list[int]:
    """`mechanisms` from the cheapest to the dearest for `n` functions over an attachment's life."""

    def total(mechanism: int) -> int:
        cost = COSTS[when, mechanism]
        return cost.attach * n + cost.hit * EXPECTED_HITS

    return sorted(mechanisms, key=total)

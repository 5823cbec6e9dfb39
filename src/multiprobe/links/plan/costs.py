"""What attaching and what a hit costs, by mechanism: the figures that the planner decides with.

`bench/costs.py` measures such a table, in a guest whose clocks count instructions. The rows of batches and all hits
were measured so, on all functions of 6.12 and 7.3. Functions that go one by one mostly wait, one after another, for the
kernel's grace periods, which differ from kernel to kernel and machine to machine: their rows are round numbers, the
instructions that a processor of 1 GHz could do meanwhile, to tell them from batches by their order of magnitude.
Those of functions of programs are round, too, from `bench/user.py` on a machine: 3 us to attach each, and as long to
detach, and 20 to 40 ms for the grace period of each link.
"""

from __future__ import annotations

from typing import NamedTuple

from multiprobe.kernel.mechanism import Mechanism


class Cost(NamedTuple):
    """Of one mechanism on one side: instructions per function to attach and to detach, and per hit above the unprobed
    call; whether one link takes many functions; and what each link takes besides, where that is known."""

    attach: int
    detach: int
    hit: int
    is_batch: bool
    link_attach: int = 0
    link_detach: int = 0


COSTS = {
    ("entry", Mechanism.KPROBE_MULTI): Cost(10_800, 7_900, 248, True),
    ("return", Mechanism.KPROBE_MULTI): Cost(20_300, 7_800, 713, True),
    ("session", Mechanism.KPROBE_MULTI): Cost(15_300, 10_600, 830, True),
    ("entry", Mechanism.TRACING_MULTI): Cost(101_900, 27_800, 112, True),
    ("return", Mechanism.TRACING_MULTI): Cost(100_500, 32_900, 171, True),
    ("session", Mechanism.TRACING_MULTI): Cost(106_300, 61_600, 276, True),
    ("entry", Mechanism.TRAMPOLINE): Cost(5_000_000, 45_000_000, 112, False),
    ("return", Mechanism.TRAMPOLINE): Cost(5_000_000, 45_000_000, 171, False),
    ("session", Mechanism.TRAMPOLINE): Cost(5_000_000, 45_000_000, 276, False),
    ("entry", Mechanism.KPROBE): Cost(20_000_000, 40_000_000, 325, False),
    ("return", Mechanism.KPROBE): Cost(20_000_000, 40_000_000, 631, False),
    ("session", Mechanism.KPROBE): Cost(40_000_000, 80_000_000, 956, False),
    ("entry", Mechanism.UPROBE_MULTI): Cost(50_000, 45_000, 5_000, True, 5_000_000, 400_000_000),
    ("return", Mechanism.UPROBE_MULTI): Cost(50_000, 45_000, 10_000, True, 5_000_000, 400_000_000),
    ("session", Mechanism.UPROBE_MULTI): Cost(50_000, 45_000, 12_000, True, 5_000_000, 400_000_000),
}

EXPECTED_HITS = 1_000_000
"""Hits that an attachment is taken to see in its life, all functions together: more than a glance, less than a day."""

LOOP_TURN = 194
"""Instructions of one turn of an empty loop in Python: a yardstick for how fast this machine is."""


def cost_of(mechanism: Mechanism, *, when: str, is_paired: bool = False) -> Cost:
    """A mechanism's cost; a session that two programs make costs as much as both of its sides."""
    if not is_paired or mechanism == Mechanism.KPROBE:  # whose sessions are always paired
        return COSTS[when, mechanism]
    entry, leave = COSTS["entry", mechanism], COSTS["return", mechanism]
    return Cost(entry.attach + leave.attach, entry.detach + leave.detach, entry.hit + leave.hit, entry.is_batch)


def by_cost(mechanisms: list[Mechanism], *, when: str, n: int, paired: Mechanism = Mechanism.NONE) -> list[Mechanism]:
    """`mechanisms` from the cheapest to the dearest for `n` functions over an attachment's life; those in the mask
    `paired` make sessions of two programs."""

    def total(mechanism: Mechanism) -> int:
        cost = cost_of(mechanism, when=when, is_paired=bool(mechanism & paired))
        return (cost.attach + cost.detach) * n + cost.hit * EXPECTED_HITS

    return sorted(mechanisms, key=total)

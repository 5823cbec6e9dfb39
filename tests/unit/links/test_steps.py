"""A plan's links and system calls, mechanism by mechanism."""

from __future__ import annotations

import pytest

from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.plan.plan import Group, LinkPlan
from multiprobe.links.plan.steps import steps_of


@pytest.mark.parametrize(
    ("mechanism", "paired", "links", "calls"),
    [
        (Mechanism.KPROBE_MULTI, 0, 1, 2),
        (Mechanism.TRACING_MULTI, 0, 3, 6),
        (Mechanism.TRAMPOLINE, 0, 5, 10),
        (Mechanism.TRAMPOLINE, Mechanism.TRAMPOLINE, 10, 20),
        (Mechanism.KPROBE, Mechanism.KPROBE, 10, 22),
    ],
)
def test_links_and_system_calls(mechanism: int, paired: int, links: int, calls: int) -> None:
    plan = LinkPlan("session", [Group(mechanism, [0, 1, 2, 4, 5])], [3], paired)
    (step,) = steps_of(plan, [0, 0, 7, 9, 8, 8])
    assert (step.functions, step.links, step.system_calls) == (5, links, calls)
    assert step.attach > 0
    assert step.detach > 0

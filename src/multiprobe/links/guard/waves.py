"""Cuts a plan into waves: parts that are attached one after the other, and can be replaced one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.links.plan.costs import COSTS
from multiprobe.links.plan.plan import Group, LinkPlan

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

FIRST = 10
GROWTH = 10
_PARTS = 8
_SMALLEST_PART = 1024


def part_size(n_functions: int) -> int:
    """How many functions share a link when some of them may have to go: replacing a large one takes long."""
    return max(_SMALLEST_PART, -(-n_functions // _PARTS))


def in_waves(plan: LinkPlan, *, has_budget: bool, is_careful: bool, hot: Collection[int] = ()) -> LinkPlan:
    """The same plan in more groups: with a budget of links small enough to be replaced, with care growing from ten.

    Functions that go one by one have a link each anyway; only care cuts them. The positions in `hot` come last.
    """
    plan = _hot_last(plan, hot)
    groups: list[Group] = []
    size = FIRST
    for group in plan.groups:
        largest = len(group.positions)
        if has_budget and COSTS[plan.when, group.mechanism].is_batch:
            largest = part_size(plan.n_functions)
        for positions in _cut(group.positions, size if is_careful else largest, largest):
            groups.append(Group(group.mechanism, positions))
            size *= GROWTH
    return plan._replace(groups=groups)


def _hot_last(plan: LinkPlan, hot: Collection[int]) -> LinkPlan:
    """The same plan with groups of their own, at the end, for the positions in `hot`."""
    if not hot:
        return plan
    cold, last = [], []
    for group in plan.groups:
        mine = [position for position in group.positions if position in hot]
        rest = [position for position in group.positions if position not in hot] if mine else group.positions
        cold += [Group(group.mechanism, rest)] if rest else []
        last += [Group(group.mechanism, mine)] if mine else []
    return plan.with_groups([*cold, *last])


def _cut(positions: Sequence[int], size: int, largest: int) -> Iterator[Sequence[int]]:
    start = 0
    while start < len(positions):
        n = min(size, largest)
        yield positions[start : start + n]
        start += n
        size *= GROWTH

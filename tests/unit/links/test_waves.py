"""Cutting plans into waves: sizes, and nothing lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.guard.waves import in_waves, part_size
from multiprobe.links.plan.plan import Group, LinkPlan

groups = st.lists(
    st.tuples(st.sampled_from([Mechanism.KPROBE_MULTI, Mechanism.KPROBE]), st.integers(1, 5000)), min_size=1, max_size=3
)


def plan_of(sizes: list[tuple[int, int]]) -> LinkPlan:
    made, start = [], 0
    for mechanism, n in sizes:
        made.append(Group(mechanism, list(range(start, start + n))))
        start += n
    return LinkPlan("entry", made, [])


def sizes(plan: LinkPlan) -> list[int]:
    return [len(group.positions) for group in plan.groups]


def test_care_grows_from_ten() -> None:
    plan = plan_of([(Mechanism.KPROBE_MULTI, 40_000)])
    assert sizes(in_waves(plan, has_budget=False, is_careful=True)) == [10, 100, 1000, 10_000, 28_890]


def test_a_budget_makes_links_that_can_be_replaced() -> None:
    plan = plan_of([(Mechanism.KPROBE_MULTI, 40_000)])
    assert sizes(in_waves(plan, has_budget=True, is_careful=False)) == [5000] * 8
    assert part_size(500) > 500, "few functions need no more than one link"


def test_both() -> None:
    plan = plan_of([(Mechanism.TRACING_MULTI, 40_000)])
    assert sizes(in_waves(plan, has_budget=True, is_careful=True))[:4] == [10, 100, 1000, 5000]


def test_what_goes_one_by_one_has_links_of_its_own() -> None:
    plan = plan_of([(Mechanism.KPROBE, 3000)])
    assert sizes(in_waves(plan, has_budget=True, is_careful=False)) == [3000]


@given(groups, st.booleans(), st.booleans())
def test_nothing_is_lost_and_the_order_stays(made: list[tuple[int, int]], has_budget: bool, is_careful: bool) -> None:
    plan = plan_of(made)
    cut = in_waves(plan, has_budget=has_budget, is_careful=is_careful)
    pairs = [(group.mechanism, place) for group in plan.groups for place in group.positions]
    assert [(group.mechanism, place) for group in cut.groups for place in group.positions] == pairs
    assert cut.mechanisms == plan.mechanisms


@given(groups, st.sets(st.integers(0, 10_000)))
def test_the_hot_ones_come_last(sizes_by_mechanism: list[tuple[int, int]], hot: set[int]) -> None:
    plan = plan_of(sizes_by_mechanism)
    cut = in_waves(plan, has_budget=True, is_careful=False, hot=hot)
    order = [position for group in cut.groups for position in group.positions]
    assert sorted(order) == list(range(len(order)))
    assert [position in hot for position in order] == sorted(position in hot for position in order)
    of = {position: group.mechanism for group in plan.groups for position in group.positions}
    assert all(of[position] == group.mechanism for group in cut.groups for position in group.positions)

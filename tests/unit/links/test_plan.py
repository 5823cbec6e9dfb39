"""The planner assigns each function to the cheapest mechanism, or refuses it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multiprobe.compiler.shape import SIDES
from multiprobe.errors import UsageError
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.plan.mechanisms import Mechanisms
from multiprobe.links.plan.plan import make_plan
from multiprobe.links.plan.planning import limit_singles


@given(st.lists(st.integers(0, 15), max_size=200), st.sampled_from(SIDES), st.integers(0, 15))
def test_every_function_has_exactly_one_place(masks: list[int], when: str, usable: int) -> None:
    plan = make_plan(masks, when=when, usable=usable)
    positions = [place for group in plan.groups for place in group.positions] + plan.refused
    assert sorted(positions) == list(range(len(masks)))
    for group in plan.groups:
        assert all(masks[place] & group.mechanism & usable for place in group.positions)
    assert all(not masks[place] & usable for place in plan.refused)


def test_few_functions_go_where_a_hit_is_cheap_and_many_where_attaching_is() -> None:
    both = Mechanism.KPROBE_MULTI | Mechanism.TRACING_MULTI
    assert [g.mechanism for g in make_plan([both] * 100, when="entry").groups] == [Mechanism.TRACING_MULTI]
    assert [g.mechanism for g in make_plan([both] * 40_000, when="entry").groups] == [Mechanism.KPROBE_MULTI]


def test_batches_come_before_single_links() -> None:
    plan = make_plan(
        [Mechanism.ALL] * 10, when="entry", usable=Mechanism.KPROBE_MULTI | Mechanism.TRAMPOLINE | Mechanism.KPROBE
    )
    assert [g.mechanism for g in plan.groups] == [Mechanism.KPROBE_MULTI]
    assert plan.n_links == 1


def test_single_mechanisms_take_a_link_each() -> None:
    plan = make_plan(
        [Mechanism.TRAMPOLINE | Mechanism.KPROBE, Mechanism.KPROBE, 0],
        when="return",
        usable=Mechanism.TRAMPOLINE | Mechanism.KPROBE,
    )
    assert plan.n_links == plan.n_functions == 2
    assert plan.refused == [2]


def test_a_session_of_two_programs_takes_two_links() -> None:
    singles = Mechanism.TRAMPOLINE | Mechanism.KPROBE
    plan = make_plan([singles] * 3, when="session", usable=singles, paired=singles)
    assert (plan.n_functions, plan.n_links) == (3, 6)


def test_a_limit_on_what_goes_one_by_one() -> None:
    batch, single = Mechanism.KPROBE_MULTI, Mechanism.KPROBE
    plan = make_plan([batch, single, single, batch, single], when="entry", usable=batch | single)
    limited, over = limit_singles(plan, 2)
    assert {group.mechanism: group.positions for group in limited.groups} == {batch: [0, 3], single: [1, 2]}
    assert over == [4]
    assert limit_singles(plan, 3) == (plan, [])
    assert limit_singles(plan, 0) == (plan, [])


def test_nothing_but_single_links_over_the_limit_is_an_error() -> None:
    plan = make_plan([Mechanism.KPROBE] * 5, when="entry", usable=Mechanism.KPROBE)
    with pytest.raises(UsageError, match="the limit is 4") as caught:
        limit_singles(plan, 4)
    assert "--max-singles" in caught.value.hint


def test_allowed_mechanisms() -> None:
    assert Mechanisms().allowed == Mechanism.ALL
    assert Mechanisms(without=("fsession", "kprobe")).allowed == Mechanism.ALL & ~Mechanism.KPROBE
    with pytest.raises(UsageError, match="no mechanism is left"):
        Mechanisms("kprobe", without="kprobe")
    with pytest.raises(UsageError, match="unknown mechanism 'fsession'"):
        Mechanisms("fsession")

"""The functions dropped for given hits and prices."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multiprobe.errors import UsageError
from multiprobe.links.guard.budget import GOAL, Window, changes, choose_drops, rates, scopes, share
from multiprobe.links.guard.limits import Limits

N = 6
windows = st.integers(1, N).flatmap(
    lambda n: st.builds(
        Window,
        st.floats(0.01, 10),
        st.lists(st.dictionaries(st.integers(0, n - 1), st.integers(1, 10**6)), min_size=1, max_size=3),
        st.none() | st.floats(0, 10),
    )
)


def by_function(rows: list[list[int]]) -> list[dict[int, int]]:
    return [{index: n for index, n in enumerate(row) if n} for row in rows]


@given(st.lists(st.tuples(st.integers(0, 2**63), st.integers(0, 3)), min_size=1, max_size=200))
def test_changes_are_those_counters_that_grew(pairs: list[tuple[int, int]]) -> None:
    before = array("Q", [start for start, _ in pairs]).tobytes()
    after = array("Q", [start + grown for start, grown in pairs]).tobytes()
    assert changes(before, after) == {index: grown for index, (_, grown) in enumerate(pairs) if grown}


def test_the_hottest_goes_first_and_no_more_than_needed() -> None:
    window = Window(1.0, by_function([[10, 100_000, 1_000, 50_000]]))
    prices = [1000.0] * 4
    assert share(window, prices) == pytest.approx(0.15101)
    assert choose_drops(window, prices, 0.2) == []
    assert choose_drops(window, prices, 0.1) == [1]
    assert choose_drops(window, prices, 0.05) == [1, 3]


def test_a_dear_hit_weighs_more_than_two_cheap_ones() -> None:
    window = Window(1.0, by_function([[1000, 2000]]))
    assert choose_drops(window, [5000.0, 1000.0], 0.004) == [0]


def test_each_cpu_counts_by_itself() -> None:
    window = Window(1.0, by_function([[0, 100_000], [10, 0], [10, 0], [10, 0]]))
    assert choose_drops(window, [1000.0, 1000.0], 0.05) == [1]


def test_a_thread_that_wanders_over_idle_cpus_is_seen() -> None:
    wandering = by_function([[25_000]] * 4)
    assert choose_drops(Window(1.0, wandering, busy=1.0), [1000.0], 0.05) == [0]
    assert choose_drops(Window(1.0, wandering, busy=4.0), [1000.0], 0.05) == []
    assert choose_drops(Window(0.1, by_function([[2500]] * 4), busy=0.01), [1000.0], 0.05) == [], (
        "too short to know how busy"
    )


def test_an_idle_machine_drops_nothing_for_a_trifle() -> None:
    assert choose_drops(Window(1.0, by_function([[1000], [0]]), busy=0.001), [1000.0], 0.05) == []


@given(window=windows, price=st.floats(1, 10_000), budget=st.floats(0.001, 0.5))
def test_afterwards_no_scope_is_above_the_budget(window: Window, price: float, budget: float) -> None:
    n = N
    prices = [price] * n
    dropped = choose_drops(window, prices, budget)
    assert len(set(dropped)) == len(dropped)
    kept = [0.0 if index in dropped else price for index in range(n)]
    assert share(window, kept) <= budget * (1 + 1e-9)
    if share(window, prices) <= budget:
        assert dropped == []


@given(window=windows, price=st.floats(1, 10_000), budget=st.floats(0.001, 0.5))
def test_with_the_last_one_dropped_some_scope_was_above_the_goal(window: Window, price: float, budget: float) -> None:
    n = N
    dropped = choose_drops(window, [price] * n, budget)
    if dropped:
        prices = [0.0 if index in dropped[:-1] else price for index in range(n)]
        assert share(window, prices) > GOAL * budget * (1 - 1e-9)


def test_rates_are_over_all_cpus() -> None:
    assert rates(Window(2.0, by_function([[4, 1], [6, 0]])), [0]) == {0: 5.0}


def test_scopes_of_one_cpu_are_one() -> None:
    assert len(scopes(Window(1.0, [{0: 1}], busy=0.1))) == 1


@pytest.mark.parametrize("budget", [0, 1, -0.1, 5, "5%", True])
def test_what_is_no_budget(budget: object) -> None:
    with pytest.raises(UsageError, match="budget"):
        Limits(budget=budget)  # type: ignore[arg-type]

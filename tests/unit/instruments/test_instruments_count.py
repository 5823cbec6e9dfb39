from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from multiprobe.instruments.count import CallCount, CountSample, call_counts, rank


def sample(seconds: float, *totals: int) -> CountSample:
    return CountSample(seconds, array("Q", totals))


@given(st.lists(st.integers(0, 2**64 - 1)), st.integers(0, 5))
def test_rank(totals: list[int], top: int) -> None:
    ranked = rank(totals, top=top)
    assert all(totals[index] for index in ranked)
    assert ranked == sorted(ranked, key=lambda index: (-totals[index], index))
    called = sum(1 for n in totals if n)
    assert len(ranked) == (min(top, called) if top else called)


def test_call_counts() -> None:
    counts = call_counts(["a", "b", "c"], sample(2.0, 10, 0, 30))  # type: ignore[list-item]
    assert counts == [CallCount("c", 30, 15.0, 0.75, 2), CallCount("a", 10, 5.0, 0.25, 0)]  # type: ignore[arg-type]


def test_rates_since_an_earlier_sample() -> None:
    counts = call_counts(["a", "b"], sample(3.0, 10, 30), before=sample(2.0, 10, 20))  # type: ignore[list-item]
    assert [(c.calls, c.rate) for c in counts] == [(30, 10.0), (10, 0.0)]


def test_no_time_and_no_calls() -> None:
    assert call_counts(["a"], sample(0.0, 0)) == []  # type: ignore[list-item]
    assert call_counts(["a"], sample(0.0, 5))[0].rate == 0.0  # type: ignore[list-item]

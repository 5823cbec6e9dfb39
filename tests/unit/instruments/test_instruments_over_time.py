"""Columns of time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from multiprobe.instruments.latency.over_time import OverTime


def test_what_was_added_between_moments() -> None:
    grown = OverTime(step=1.0)
    grown.begin(4.0, [5])
    grown.note(5.0, [6, 2])
    grown.note(6.5, [6, 5, 7])
    grown.note(6.625, [9, 9, 9])  # too soon
    grown.note(6.75, [7, 5, 8], is_last=True)
    assert (grown.start, grown.ends) == (4.0, [5.0, 6.5, 6.75])
    assert grown.columns == [[1, 2], [0, 3, 7], [1, 0, 1]]


def test_the_last_moment_twice_is_one() -> None:
    grown = OverTime()
    grown.note(1.0, [3])
    grown.note(1.0, [3], is_last=True)
    assert grown.columns == [[3]]


@given(st.integers(1, 3000), st.integers(2, 50))
def test_it_becomes_coarser_and_loses_nothing(n: int, most: int) -> None:
    grown = OverTime(step=0.1, most=most)
    for second in range(1, n + 1):
        grown.note(second * 0.1, [second])
    grown.note(n * 0.1 + 0.01, [n + 1], is_last=True)
    assert len(grown.ends) <= most + 1
    assert sum(n for (n,) in grown.columns) == n + 1
    assert grown.ends == sorted(set(grown.ends))
    assert grown.step <= max(0.1, 4 * grown.ends[-1] / most)

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multiprobe.output.histogram import bar, log2_bounds, log2_lines, sparkline
from multiprobe.output.units import count_text, percent_text, time_text


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1000, "1.00 µs"),
        (12_345, "12.3 µs"),
        (999_999, "1.00 ms"),
        (123_456_789, "123 ms"),
        (5_000_000_000, "5.00 s"),
        (-1500, "-1.50 µs"),
    ],
)
def test_times(ns: int, text: str) -> None:
    assert time_text(ns) == text


@pytest.mark.parametrize(("n", "text"), [(9999, "9,999"), (12_345, "12.3k"), (4_560_000, "4.56M"), (0, "0")])
def test_counts(n: int, text: str) -> None:
    assert count_text(n) == text


@pytest.mark.parametrize(("share", "text"), [(0, "0.0%"), (0.0001, "<0.1%"), (0.5, "50.0%"), (1, "100.0%")])
def test_shares(share: float, text: str) -> None:
    assert percent_text(share) == text


def test_a_log2_histogram() -> None:
    assert list(log2_lines([0, 1, 0, 4], width=4)) == ["[1, 2)  1  |█   |", "[2, 4)  0  |    |", "[4, 8)  4  |████|"]
    assert list(log2_lines([0, 0])) == []


@given(st.integers(0, 1 << 63))
def test_each_number_lies_in_its_bucket(number: int) -> None:
    low, high = log2_bounds(number.bit_length())
    assert low <= number < high


def test_sparklines() -> None:
    assert sparkline([0, 1, 4, 8]) == " ▁▄█"
    assert sparkline([1, 1, 0, 0, 4, 4], width=3) == "▂ █"
    assert sparkline([]) == ""


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=30), st.integers(1, 40))
def test_bars_fit_and_nothing_is_hidden(counts: list[int], width: int) -> None:
    for n in counts:
        made = bar(n, max(counts), width)
        assert len(made) <= width
        assert bool(made) == bool(n)
    assert len(sparkline(counts, width=width)) <= width

"""The chart of `--live` as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multiprobe.output.chart import Recent, chart_lines


def test_columns_begin_at_zero_and_the_newest_is_on_the_right() -> None:
    rates = [*[0.0] * 13, 1.0, 5.0, 10.0, 7.5]
    assert chart_lines(Recent("calls a second", rates, 34.0), width=40, height=4) == [
        "calls a second",
        "10 │               █ ",
        "   │               ██",
        "   │              ███",
        " 0 │             ▄███",
        "    34 s ago      now",
    ]


def test_a_steady_rate_is_not_drawn_as_none() -> None:
    lines = chart_lines(Recent("w", [5.0] * 20, 20.0), width=40, height=3)
    assert [line[-20:] for line in lines[1:4]] == ["█" * 20] * 3


def test_nothing_happened() -> None:
    assert chart_lines(Recent("calls a second", [], 0.0), width=40, height=5) == ["calls a second: no rate yet"]
    lines = chart_lines(Recent("calls a second", [0.0] * 20, 20.0), width=40, height=3)
    assert not set("".join(lines[1:4])) - set("0 │")


def test_where_cells_are_few_a_column_is_the_highest_of_its_rates() -> None:
    rates = [0.0] * 100
    rates[40] = 7.0
    lines = chart_lines(Recent("w", rates, 100.0), width=23, height=2)
    assert lines[1].count("█") == 1
    assert lines[2].count("█") == 1


@given(st.lists(st.floats(0, 1e12), min_size=1, max_size=300), st.integers(1, 200), st.integers(2, 12))
def test_it_fits(rates: list[float], width: int, height: int) -> None:
    what, *lines = chart_lines(Recent("w", rates, 12.0), width=width, height=height)
    assert what == "w"
    assert len(lines) == height + 1
    assert max(map(len, lines)) <= max(width, 20)


@pytest.mark.parametrize("n", [1, 17, 20, 21, 39, 180])
def test_no_rate_is_left_out(n: int) -> None:
    for at in (0, n // 2, n - 1):
        rates = [0.0] * n
        rates[at] = 3.0
        assert "█" in "".join(chart_lines(Recent("w", rates, float(n)), width=23, height=5))

"""Numbers with their units, as people read them: times, counts."""

from __future__ import annotations

_TIMES = ((10**9, "s"), (10**6, "ms"), (10**3, "µs"), (1, "ns"))
_COUNTS = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))


def time_text(ns: float) -> str:
    """A time in the largest unit that it reaches, with three significant digits: 950 ns, 1.25 ms, 12.0 s."""
    for size, unit in _TIMES:
        if abs(ns) >= size * 0.9995 or size == 1:
            return f"{_three_digits(ns / size)} {unit}" if size > 1 else f"{ns:.0f} ns"
    raise AssertionError


def count_text(n: float) -> str:
    """A number with three significant digits and a letter above 9,999: 12.3k, 4.56M."""
    if abs(n) < 10_000:
        return f"{n:,.0f}"
    for size, letter in _COUNTS:
        if abs(n) >= size * 0.9995:
            return f"{_three_digits(n / size)}{letter}"
    raise AssertionError


def percent_text(part: float) -> str:
    """A part of 1 in percent, with one decimal; a part above 0 is never shown as 0."""
    return f"{part:.1%}" if part >= 0.0005 or part == 0 else "<0.1%"


def _three_digits(number: float) -> str:
    size = abs(number)
    return f"{number:.2f}" if size < 9.995 else f"{number:.1f}" if size < 99.95 else f"{number:,.0f}"

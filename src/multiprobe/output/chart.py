"""A chart of rates over time as lines of text, for a terminal. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from multiprobe.output.histogram import BLOCKS
from multiprobe.output.units import count_text

if TYPE_CHECKING:
    from collections.abc import Sequence

_LEAST = 16
"""Cells under which the axis has the times of both its ends."""


@dataclass(frozen=True, slots=True)
class Recent:
    """The recent past of one thing: how often it happened per second, in stretches of time of the same length.

    what: the unit, as in `calls a second`; seconds: the time that all stretches took together
    """

    what: str
    rates: Sequence[float]
    seconds: float


def chart_lines(recent: Recent, *, width: int, height: int) -> list[str]:
    """A title, `height` lines of columns, and the axis, at most `width` cells wide; the newest column is on the right.

    Columns begin at 0. Where there are more rates than cells, a column is the highest of its rates.
    """
    if not recent.rates:
        return [f"{recent.what}: no rate yet"]
    most = max(recent.rates)
    label = len(count_text(most))
    columns = _highest(recent.rates, max(1, width - label - 2))
    eighths = [ceil(8 * height * rate / most) if most else 0 for rate in columns]
    lines = ["".join(BLOCKS[min(8, max(0, n - 8 * row))] for n in eighths) for row in reversed(range(height))]
    labels = [count_text(most), *[""] * (height - 2), "0"]
    body = [f"{text:>{label}} │{line}" for text, line in zip(labels, lines, strict=True)]
    return [recent.what, *body, " " * (label + 2) + _axis(recent.seconds, len(columns))]


def _highest(rates: Sequence[float], n: int) -> list[float]:
    """At most n numbers, each the highest of as many neighbours as it takes; the groups end with the newest."""
    size = -(-len(rates) // n)
    first = len(rates) % size or size
    return [max(rates[max(0, end - size) : end]) for end in range(first, len(rates) + 1, size)]


def _axis(seconds: float, width: int) -> str:
    ago = f"{seconds:.0f} s ago"
    return f"{ago}{'now':>{width - len(ago)}}" if width >= _LEAST else f"{'now':>{width}}"

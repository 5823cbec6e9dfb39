"""Heat maps: how a distribution changes over time, as one SVG file. Time runs to the right, values upwards.

Each column is a histogram taken over one stretch of time, each row one of its buckets; the darker a cell, the more of
values it holds, on a logarithmic scale, since calls come in orders of magnitude.
Hovering shows a cell's numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from math import floor, log1p, log2, log10
from typing import TYPE_CHECKING

from multiprobe.output.histogram import log2_bounds
from multiprobe.output.svg import heading, load, opening, xml_text
from multiprobe.output.units import count_text, time_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 150, 60, 44
_ROW = 20
_PLOT = 900
_TITLE = 105  # letters
_TICKS = 8
_END = 60
"""Pixels before the end of the time axis that have no other label."""
_SHADES = 9
_DIGITS = ((1,), (1, 2, 5), range(1, 10))
_FEWEST = 3
"""Labels of values, if there are so many round ones."""


@dataclass(frozen=True, slots=True)
class HeatMap:
    """`columns[t][b]` is how many values fell into log2 bucket b in the t-th stretch of time.

    start, ends: when the first stretch began, and when each ended, in seconds since the measurement began
    """

    columns: Sequence[Sequence[int]]
    ends: Sequence[float]
    start: float = 0.0


def heat_svg(heat: HeatMap, *, title: str, subtitle: str = "", form: Callable[[float], str] = time_text) -> str:
    """The heat map as SVG. `form` spells a bucket's bounds (times in ns unless told otherwise)."""
    buckets = _used(heat.columns)
    height = _TOP + _ROW * max(1, len(buckets)) + _BOTTOM
    most = max((n for column in heat.columns for n in column), default=0)
    width = _LEFT + _PLOT + _RIGHT
    lines = [opening(title, width=width, height=height, style=load("heat.css"))]
    lines.append(heading(title, subtitle, left=_LEFT, most=_TITLE))
    if most:
        lines += _cells(heat, buckets, most, form)
        lines += _value_axis(buckets, form)
        lines += _time_axis(heat, len(buckets))
        lines += _legend(most)
    else:
        lines.append(f'<text x="{_LEFT}" y="{_TOP + 14}">nothing was seen</text>')
    return "\n".join([*lines, "</svg>", ""])


def _used(columns: Sequence[Sequence[int]]) -> range:
    used = [bucket for column in columns for bucket, n in enumerate(column) if n]
    return range(min(used), max(used) + 1) if used else range(0)


def _cells(heat: HeatMap, buckets: range, most: int, form: Callable[[float], str]) -> Iterator[str]:
    yield f'<rect x="{_LEFT}" y="{_TOP}" width="{_PLOT}" height="{_ROW * len(buckets)}" fill="#f6f6f4"/>'
    for column, (begin, end) in zip(heat.columns, pairwise((heat.start, *heat.ends)), strict=True):
        x, right = (_LEFT + _PLOT * moment / heat.ends[-1] for moment in (begin, end))
        for bucket in buckets:
            n = column[bucket] if bucket < len(column) else 0
            if n:
                low, high = map(form, log2_bounds(bucket))
                when = f"{_seconds(begin)} to {_seconds(end)} s"
                yield (
                    f'<rect x="{x:.2f}" y="{_TOP + (buckets[-1] - bucket) * _ROW}"'
                    f' width="{right - x:.2f}" height="{_ROW}" fill="{_colour(n, most)}">'
                    f"<title>{n:,} × {low} to {high}, {when}</title></rect>"
                )


def _colour(n: int, most: int) -> str:
    """From pale yellow to dark red, by the logarithm."""
    depth = log1p(n) / log1p(most)
    return f"hsl({52 - 52 * depth:.0f},90%,{88 - 58 * depth:.0f}%)"


def _value_axis(buckets: range, form: Callable[[float], str]) -> Iterator[str]:
    for value in round_values(log2_bounds(buckets[0])[0], log2_bounds(buckets[-1])[1]):
        y = f"{_TOP + (buckets[-1] + 1 - _position(value)) * _ROW:.2f}"
        yield f'<path d="M{_LEFT - 4} {y}h4" stroke="#888"/>'
        text = re.sub(r"\.0+(?!\d)", "", form(value))
        yield f'<text x="{_LEFT - 8}" y="{y}" dy="4" text-anchor="end">{xml_text(text)}</text>'


def _position(value: int) -> float:
    """Where a value lies, in buckets from the lower end of bucket 0."""
    return 1 + log2(value) if value else 0.0


def round_values(low: int, high: int) -> list[int]:
    """Round values from low to high, both included: powers of ten, and if these are few, multiples of them."""
    zero = [0] if low == 0 else []
    values: list[int] = []
    for digits in _DIGITS:
        every = (digit * 10**power for power in range(len(str(high))) for digit in digits)
        values = [value for value in every if low <= value <= high]
        if len(values) >= _FEWEST:
            break
    return zero + values


def _time_axis(heat: HeatMap, n_rows: int) -> Iterator[str]:
    """Ticks at round times, and at the end, which has the number of seconds that the report gives."""
    bottom, end = _TOP + n_rows * _ROW, heat.ends[-1]
    step = round_step(end / _TICKS)
    ticks = [(tick * step, f"{_seconds(tick * step)} s") for tick in range(floor(end / step) + 1)]
    near = end - end * _END / _PLOT
    for moment, text in [*(tick for tick in ticks if tick[0] < near), (end, f"{end:.2f} s")]:
        x = _LEFT + _PLOT * moment / end
        yield f'<path d="M{x:.2f} {bottom}v5" stroke="#888"/>'
        yield f'<text x="{x:.2f}" y="{bottom + 18}" text-anchor="middle">{text}</text>'


def round_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10, … and their tenths and hundredths that is not less than `least` (above 0)."""
    power = 10.0 ** floor(log10(least))
    return next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= least * (1 - 1e-9))


def _seconds(moment: float) -> str:
    return f"{round(moment, 3):g}"


def _legend(most: int) -> Iterator[str]:
    x = _LEFT + _PLOT + 24
    shades = sorted({max(1, round(most ** (step / (_SHADES - 1)))) for step in range(_SHADES)}, reverse=True)
    yield f'<text x="{x}" y="{_TOP - 8}" class="s">per cell</text>'
    for row, n in enumerate(shades):
        y = _TOP + row * 14
        yield f'<rect x="{x}" y="{y}" width="18" height="14" fill="{_colour(n, most)}"/>'
        if row % 2 == 0 or len(shades) < _SHADES:
            yield f'<text x="{x + 24}" y="{y + 11}">{count_text(n)}</text>'

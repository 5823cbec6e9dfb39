"""Metrics for Prometheus and what speaks OpenMetrics: families of numbers, as `metrics_server` serves them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Labels: TypeAlias = tuple[str, ...]

BOUNDS = tuple(range(10, 36, 2))
"""The buckets of histograms: times of at most so many bits, 1 µs to 17 s in steps of 4."""
_SPELLED = tuple((bits, str(((1 << bits) - 1) / 1e9)) for bits in BOUNDS)


@dataclass(frozen=True, slots=True)
class NumberFamily:
    """Counters, or gauges: a number for each tuple of label values."""

    name: str
    text: str
    labels: Labels
    rows: Mapping[Labels, float]
    is_counter: bool = True


@dataclass(frozen=True, slots=True)
class TimeFamily:
    """Distributions of times: for each tuple of label values, numbers by the bits of their ns, and the sum in ns."""

    name: str
    text: str
    labels: Labels
    rows: Mapping[Labels, tuple[Sequence[int], int]]


def single(name: str, text: str, number: float, *, is_counter: bool = False) -> NumberFamily:
    """A family of one number, without labels."""
    return NumberFamily(name, text, (), {(): number}, is_counter=is_counter)


Family: TypeAlias = NumberFamily | TimeFamily


class ListedRows:
    """Which rows are listed: at most `most` (None: all), and what is listed once stays, so that counters never fall.

    The largest come first: while there is room, at each `choose`.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._listed: dict[Labels, None] = {}

    def choose(self, rows: Mapping[Labels, int]) -> tuple[list[Labels], int]:
        """The rows to list, and the sum of all others. `rows`: how large each is."""
        room = len(rows) if self._most is None else self._most - len(self._listed)
        new = sorted((labels for labels in rows if labels not in self._listed), key=lambda labels: -rows[labels])
        self._listed |= dict.fromkeys(new[: max(0, room)])
        listed = [labels for labels in self._listed if labels in rows]
        return listed, sum(rows.values()) - sum(rows[labels] for labels in listed)


def cumulative(buckets: Sequence[int]) -> list[tuple[str, int]]:
    """The buckets of a histogram as Prometheus counts them: numbers of times up to a bound, in seconds.

    A time of at most n bits is at most 2ⁿ−1 ns: the bounds are exact.
    """
    sums = [0, *accumulate(buckets)]
    last = len(buckets)
    return [*((bound, sums[min(bits + 1, last)]) for bits, bound in _SPELLED), ("+Inf", sums[-1])]

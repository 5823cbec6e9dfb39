"""Metrics for Prometheus and what speaks OpenMetrics: families of numbers, as `metrics_server` serves them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate, zip_longest
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

Labels: TypeAlias = tuple[str, ...]

BOUNDS = tuple(range(10, 36, 2))
"""The buckets of histograms: times of at most so many bits, 1 µs to 17 s in steps of 4."""
_SPELLED = tuple((bits, str(((1 << bits) - 1) / 1e9)) for bits in BOUNDS)


@dataclass(frozen=True, slots=True)
class NumberFamily:
    """Counters, or gauges: a number for each tuple of label values.

    others: the name of the counter of those that are not listed (see `ListedRows`); "": all are
    """

    name: str
    text: str
    labels: Labels
    rows: Mapping[Labels, float]
    is_counter: bool = True
    others: str = ""

    def plus(self, other: NumberFamily) -> NumberFamily:
        """The sums of the rows of both."""
        rows = dict(self.rows)
        for labels, number in other.rows.items():
            rows[labels] = rows.get(labels, 0) + number
        return replace(self, rows=rows)

    def sizes(self) -> Mapping[Labels, float]:
        """By how much each row matters."""
        return self.rows

    def count(self, labels: Labels) -> float:
        """What `others` counts of a row."""
        return self.rows[labels]

    def only(self, listed: Iterable[Labels]) -> NumberFamily:
        """The family with these rows alone, in this order."""
        return replace(self, rows={labels: self.rows[labels] for labels in listed})


@dataclass(frozen=True, slots=True)
class TimeFamily:
    """Distributions of times: for each tuple of label values, numbers by the bits of their ns, and the sum in ns.

    others: as of `NumberFamily`
    """

    name: str
    text: str
    labels: Labels
    rows: Mapping[Labels, tuple[Sequence[int], int]]
    others: str = ""

    def plus(self, other: TimeFamily) -> TimeFamily:
        """The sums of the rows of both."""
        rows = dict(self.rows)
        for labels, (buckets, total) in other.rows.items():
            known, before = rows.get(labels, ((), 0))
            rows[labels] = [sum(pair) for pair in zip_longest(known, buckets, fillvalue=0)], before + total
        return replace(self, rows=rows)

    def sizes(self) -> Mapping[Labels, float]:
        """By how much each row matters: its time."""
        return {labels: total for labels, (_, total) in self.rows.items()}

    def count(self, labels: Labels) -> float:
        """What `others` counts of a row: its times."""
        return sum(self.rows[labels][0])

    def only(self, listed: Iterable[Labels]) -> TimeFamily:
        """The family with these rows alone, in this order."""
        return replace(self, rows={labels: self.rows[labels] for labels in listed})


def single(name: str, text: str, number: float, *, is_counter: bool = False) -> NumberFamily:
    """A family of one number, without labels."""
    return NumberFamily(name, text, (), {(): number}, is_counter=is_counter)


Family: TypeAlias = NumberFamily | TimeFamily


def added(families: Iterable[Family]) -> list[Family]:
    """The families, those of the same name as one with the sums of their rows."""
    found: dict[str, Family] = {}
    for family in families:
        known = found.get(family.name)
        found[family.name] = family if known is None else known.plus(family)  # type: ignore[arg-type]
    return list(found.values())


class ListedRows:
    """Which rows of a family are listed: at most `most` (None: all), and what is listed once stays, so that counters
    never fall.

    The largest come first: while there is room, at each `choose`.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._listed: dict[Labels, None] = {}

    def choose(self, family: Family) -> Iterator[Family]:
        """The family with the rows to list, and a counter of all others; as it is, without a name for these."""
        if not family.others:
            yield family
            return
        sizes = family.sizes()
        room = len(sizes) if self._most is None else self._most - len(self._listed)
        new = sorted((labels for labels in sizes if labels not in self._listed), key=lambda labels: -sizes[labels])
        self._listed |= dict.fromkeys(new[: max(0, room)])
        yield family.only(labels for labels in self._listed if labels in sizes)
        others = sum(family.count(labels) for labels in sizes if labels not in self._listed)
        yield single(family.others, f"What {family.name} does not list.", others, is_counter=True)


def cumulative(buckets: Sequence[int]) -> list[tuple[str, int]]:
    """The buckets of a histogram as Prometheus counts them: numbers of times up to a bound, in seconds.

    A time of at most n bits is at most 2ⁿ−1 ns: the bounds are exact.
    """
    sums = [0, *accumulate(buckets)]
    last = len(buckets)
    return [*((bound, sums[min(bits + 1, last)]) for bits, bound in _SPELLED), ("+Inf", sums[-1])]

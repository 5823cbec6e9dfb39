"""Divides numbers into histogram buckets, and computes percentiles from bucket counts. Pure."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from math import inf, isinf
from typing import TYPE_CHECKING, NamedTuple

from multiprobe.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_BITS = 8
MAX_BUCKETS = 1 << 14


class Log2(NamedTuple):
    """Buckets that grow with the numbers: each power of two is divided into 2**bits equal parts.

    Bucket 0 is for numbers below 0. A number below 2**bits has a bucket of its own; a bucket of larger numbers is at
    most 1/2**bits of its lower bound wide.
    """

    bits: int = 0

    @property
    def n_buckets(self) -> int:
        return 1 + (65 - self.bits << self.bits)

    def bucket(self, number: int) -> int:
        """The bucket of a number (−2⁶³ … 2⁶⁴−1)."""
        if number < 0:
            return 0
        power = (number >> self.bits).bit_length()
        return 1 + (power << self.bits) + ((number >> max(power - 1, 0)) & (1 << self.bits) - 1)

    def bounds(self) -> list[tuple[float, float]]:
        """For each bucket the lowest number in it, and the first one above it."""
        return [(-inf, 0), *((self._low(n), self._low(n + 1)) for n in range(self.n_buckets - 1))]

    def _low(self, place: int) -> int:
        power, part = divmod(place, 1 << self.bits)
        return part if power == 0 else ((1 << self.bits) + part) << power - 1


class Linear(NamedTuple):
    """Buckets of `step` numbers each, from `low` up to `high`; the first bucket is for what is below, the last for the
    rest."""

    low: int
    high: int
    step: int

    @property
    def n_inside(self) -> int:
        return -(-(self.high - self.low) // self.step)

    @property
    def n_buckets(self) -> int:
        return self.n_inside + 2

    def bucket(self, number: int) -> int:
        """The bucket of a number."""
        if number < self.low:
            return 0
        return self.n_inside + 1 if number >= self.high else 1 + (number - self.low) // self.step

    def bounds(self) -> list[tuple[float, float]]:
        """For each bucket the lowest number in it, and the first one above it."""
        starts = range(self.low, self.high, self.step)
        inside = [(start, min(start + self.step, self.high)) for start in starts]
        return [(-inf, self.low), *inside, (self.high, inf)]


Buckets = Log2 | Linear


def log2(*, bits: int = 0) -> Log2:
    """Buckets by powers of two, each divided into 2**bits equal parts: numbers are known to 1 part in 2**bits.

    Raises UsageError unless `bits` is 0 to 8.
    """
    if not isinstance(bits, int) or isinstance(bits, bool) or not 0 <= bits <= MAX_BITS:
        raise UsageError(f"invalid bits={bits!r}: expected 0 to {MAX_BITS}")
    return Log2(bits)


def linear(low: int, high: int, step: int) -> Linear:
    """Buckets of `step` numbers each, from `low` up to `high` (exclusive), and one each for what is below and above.

    Raises UsageError for an empty range and for more than 16384 buckets.
    """
    for number in (low, high, step):
        if not isinstance(number, int) or isinstance(number, bool) or not -(1 << 63) <= number < 1 << 63:
            raise UsageError(f"buckets are made of integers of 64 bits, not {number!r}")
    if not (low < high and 0 < step <= high - low):
        raise UsageError(
            f"linear({low}, {high}, {step}) has no buckets", hint="low < high, and a step > 0 between them"
        )
    made = Linear(low, high, step)
    if made.n_buckets > MAX_BUCKETS:
        raise UsageError(
            f"{made.n_buckets} buckets are too many", hint=f"{MAX_BUCKETS} is the most: choose a larger step"
        )
    return made


class Percentile(NamedTuple):
    """`percent` of the numbers are at most this large. The number itself lies in [low, high), the bounds of a bucket;
    `estimate` assumes that numbers lie evenly in it, so that its error is smaller than the bucket is wide."""

    percent: float
    low: float
    high: float
    estimate: float


def percentiles(buckets: Buckets, counts: Iterable[int], percents: Iterable[float] = (50, 90, 99)) -> list[Percentile]:
    """Where given shares of all numbers end (nearest rank); an empty list when nothing was counted.

    counts: how many numbers fell into each bucket
    """
    bounds, sums = buckets.bounds(), list(accumulate(map(int, counts)))
    if len(sums) != len(bounds):
        raise UsageError(f"{len(sums)} counts don't go with {len(bounds)} buckets")
    if not sums[-1]:
        return []
    return [_percentile(percent, bounds, sums) for percent in percents]


def _percentile(percent: float, bounds: list[tuple[float, float]], sums: list[int]) -> Percentile:
    if not 0 <= percent <= 100:
        raise UsageError(f"invalid percentage {percent}: expected 0 to 100")
    rank = max(1, -int(-percent * sums[-1] // 100))
    place = bisect_left(sums, rank)
    low, high = bounds[place]
    before = sums[place - 1] if place else 0
    if isinf(low) or isinf(high):
        return Percentile(percent, low, high, high if isinf(low) else low)
    inside = (rank - before - 0.5) / (sums[place] - before)
    return Percentile(percent, low, high, low if high - low == 1 else low + (high - low) * inside)

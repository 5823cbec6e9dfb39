"""Tests many differences at once: a moderated t test for each, with the false discovery rate controlled. Pure.

Each item (a function) has a few values on each side, one for each run. Few repeats estimate a variance badly, so the
variance of each item is drawn towards that of all items, as far as these agree, and no further than `_MOST_AGREEMENT`:
Smyth, "Linear models and empirical Bayes methods" (2004), section 6.2. The false discovery rate of the p-values is
controlled by Benjamini and Hochberg (1995).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_MANY = 1e6
"""So many degrees of freedom are as good as infinitely many."""
_LARGE = 1e9
_TINY = 1e-300
_MOST_AGREEMENT = 4.0
"""So many degrees of freedom the usual variance is worth at most. However well most items agree, a few of another kind
(that wait, where others compute) may vary far more, and few repeats don't show which."""
_LEAST = 1e-8
"""No variance is taken for smaller: values of one hundredth of a per cent apart are the same."""


@dataclass(frozen=True, slots=True)
class Samples:
    """The values of one item: `before` and `after`, one for each run.

    noise: the variance that a single value has at least, because it was counted: a count of n is known to √n
    chance: the probability that counting alone makes such a difference, if that is known better than by the variance
    """

    before: Sequence[float]
    after: Sequence[float]
    noise: float = 0.0
    chance: float = 0.0

    @property
    def is_repeated(self) -> bool:
        """Whether each side has two values, so that they show a variance."""
        return len(self.before) > 1 and len(self.after) > 1

    @property
    def difference(self) -> float:
        """The mean after, minus that before."""
        return fmean(self.after) - fmean(self.before)

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the variance."""
        return len(self.before) + len(self.after) - 2

    @property
    def variance(self) -> float:
        """The variance of a single value, from both sides."""
        means = fmean(self.before), fmean(self.after)
        squares = (
            (one - mean) ** 2 for side, mean in zip((self.before, self.after), means, strict=True) for one in side
        )
        return sum(squares) / self.freedom

    @property
    def weight(self) -> float:
        """The variance of the difference, if that of a single value is 1."""
        return 1 / len(self.before) + 1 / len(self.after)

    @property
    def score(self) -> float:
        """The difference in units of what counting alone explains: tells nothing of the variance between runs."""
        return self.difference / math.sqrt(max(self.noise * self.weight, _TINY))


@dataclass(frozen=True, slots=True)
class Prior:
    """What all items say about the variance of one: `variance` is its usual value, worth `freedom` degrees."""

    variance: float
    freedom: float

    def moderate(self, variance: float, freedom: int, expected: float) -> tuple[float, float]:
        """The variance of an item, drawn towards what is usual for an item of this `expected` variance; its freedom."""
        usual = self.variance * expected
        if self.freedom >= _MANY:
            return usual, _MANY
        together = self.freedom + freedom
        return (self.freedom * usual + freedom * variance) / together, min(together, _MANY)


def moderated_p_values(items: Sequence[Samples]) -> list[float]:
    """For each item the probability of such a difference if nothing had changed. Each side needs two values.

    The usual variance of an item is its noise and what runs differ by besides, which is taken for the same in all.
    """
    if not items:
        return []
    excess = sorted(max(one.variance - one.noise, 0.0) for one in items)
    between_runs = max(excess[len(excess) // 2], _LEAST)
    expected = [one.noise + between_runs for one in items]
    ratios = [(one.variance / usual, one.freedom) for one, usual in zip(items, expected, strict=True)]
    prior = fit_prior(ratios)
    prior = Prior(prior.variance, min(prior.freedom, _MOST_AGREEMENT))
    return [_p_value(one, prior, usual) for one, usual in zip(items, expected, strict=True)]


def _p_value(one: Samples, prior: Prior, expected: float) -> float:
    variance, freedom = prior.moderate(one.variance, one.freedom, expected)
    p = two_sided_p(one.difference / math.sqrt(max(variance, one.noise, _LEAST) * one.weight), freedom)
    return max(p, one.chance)


def fit_prior(variances: Sequence[tuple[float, int]]) -> Prior:
    """The prior that fits observed (variance, degrees of freedom): from the mean and the spread of their logarithms.

    Variances far below the median are raised: a function whose counts agreed by chance says nothing of the others.
    """
    positive = sorted(variance for variance, _ in variances if variance > 0)
    if not positive:
        return Prior(0.0, _MANY)
    floor = positive[len(positive) // 2] * 1e-5
    logs = []
    for variance, freedom in variances:
        half = freedom / 2
        logs.append((math.log(max(variance, floor, _TINY)) - digamma(half) + math.log(half), trigamma(half)))
    mean = fmean(log for log, _ in logs)
    spread = sum((log - mean) ** 2 for log, _ in logs) / max(1, len(logs) - 1) - fmean(own for _, own in logs)
    if spread <= 0:
        return Prior(math.exp(mean), _MANY)
    half = inverse_trigamma(spread)
    return Prior(math.exp(mean + digamma(half) - math.log(half)), 2 * half)


def adjust(p_values: Sequence[float]) -> list[float]:
    """The least false discovery rate at which each of the p-values is a discovery (Benjamini and Hochberg)."""
    order = sorted(range(len(p_values)), key=lambda place: -p_values[place])
    found, least = [1.0] * len(p_values), 1.0
    for n_before, place in enumerate(order):
        least = min(least, p_values[place] * len(p_values) / (len(p_values) - n_before))
        found[place] = least
    return found


def two_sided_p(t: float, freedom: float) -> float:
    """The probability that Student's t with so many degrees of freedom is at least as far from 0."""
    if freedom >= _MANY:
        return math.erfc(abs(t) / math.sqrt(2))
    return incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))


def binomial_p(before: int, after: int, share: float) -> float:
    """The two-sided probability of such counts, if each call falls before with the probability `share`."""
    n = before + after
    if n > _LARGE and 0 < share < 1:  # the beta function below would be a difference of numbers that are too large
        return math.erfc(abs(before - n * share) / math.sqrt(2 * n * share * (1 - share)))
    at_least = incomplete_beta(before, after + 1, share) if before else 1.0
    at_most = incomplete_beta(after, before + 1, 1 - share) if after else 1.0
    return min(1.0, 2 * min(at_least, at_most)) if n else 1.0


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularized incomplete beta function, by its continued fraction (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )  # fmt: skip
    return front / (a * _beta_fraction(a, b, x))


def _beta_fraction(a: float, b: float, x: float) -> float:
    """1 + d₁/(1 + d₂/(1 + …)), by Lentz's method; a step takes two terms."""
    value, c, d = 1.0, 1.0, 0.0
    for n in range(500):
        before = value
        for term in (-(a + n) * (a + b + n) * x / ((a + 2 * n) * (a + 2 * n + 1)),
                     (n + 1) * (b - n - 1) * x / ((a + 2 * n + 1) * (a + 2 * n + 2))):  # fmt: skip
            d = 1 / (1 + term * d or _TINY)
            c = 1 + term / c or _TINY
            value *= c * d
        if abs(value - before) <= 1e-14 * abs(value):
            break
    return value


def digamma(x: float) -> float:
    """The derivative of lgamma, for x > 0: by recurrence up to 10, then its asymptotic series (DLMF 5.11.2)."""
    shift = 0.0
    while x < 10:
        shift -= 1 / x
        x += 1
    y = 1 / (x * x)
    return shift + math.log(x) - 0.5 / x - y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y / 240)))


def trigamma(x: float) -> float:
    """The derivative of digamma, likewise (DLMF 5.15.8)."""
    shift = 0.0
    while x < 10:
        shift += 1 / (x * x)
        x += 1
    y = 1 / (x * x)
    return shift + 1 / x + y / 2 + y / x * (1 / 6 - y * (1 / 30 - y * (1 / 42 - y / 30)))


def inverse_trigamma(value: float) -> float:
    """The x > 0 with this trigamma, by bisection of its logarithm: trigamma falls steadily."""
    low, high = -20.0, 20.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if trigamma(math.exp(middle)) > value else (low, middle)
    return math.exp((low + high) / 2)

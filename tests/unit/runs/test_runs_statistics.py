"""The tests behind `mp.diff`, against tables, exact sums and simulation."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import pytest

from multiprobe.runs.statistics import (
    Prior,
    Samples,
    adjust,
    binomial_p,
    digamma,
    fit_prior,
    incomplete_beta,
    inverse_trigamma,
    moderated_p_values,
    trigamma,
    two_sided_p,
)

EULER = 0.5772156649015329


@pytest.mark.parametrize(
    ("t", "freedom", "p"),
    [(12.7062, 1, 0.05), (2.77645, 4, 0.05), (8.61030, 4, 0.001), (2.04227, 30, 0.05), (1.95996, 1e9, 0.05), (0, 3, 1)],
)
def test_students_t_is_that_of_the_tables(t: float, freedom: float, p: float) -> None:
    assert two_sided_p(t, freedom) == pytest.approx(p, rel=1e-4)
    assert two_sided_p(-t, freedom) == two_sided_p(t, freedom)


def test_students_t_far_out_has_its_closed_form() -> None:
    """With two degrees of freedom: 1 − t/√(2 + t²)."""
    for t in (0.1, 1.0, 30.0):
        assert two_sided_p(t, 2) == pytest.approx(1 - t / math.sqrt(2 + t * t), rel=1e-9)
    assert two_sided_p(1e4, 2) == pytest.approx(1e-8, rel=1e-6)


def test_incomplete_beta_of_whole_numbers_is_a_sum() -> None:
    for a in range(1, 8):
        for b in range(1, 8):
            x, n = Fraction(3, 10), a + b - 1
            exact = sum(math.comb(n, k) * x**k * (1 - x) ** (n - k) for k in range(a, n + 1))
            assert incomplete_beta(a, b, 0.3) == pytest.approx(float(exact), rel=1e-12)
    assert (incomplete_beta(2, 3, 0.0), incomplete_beta(2, 3, 1.0)) == (0.0, 1.0)


@pytest.mark.parametrize(("before", "after"), [(0, 0), (0, 1), (3, 3), (0, 12), (5, 1), (100, 160)])
def test_counts_are_compared_exactly(before: int, after: int) -> None:
    n = before + after
    tails = [sum(math.comb(n, k) for k in range(low, n + 1)) / 2**n for low in (before, after)]
    assert binomial_p(before, after, 0.5) == pytest.approx(min(1.0, 2 * min(tails)), rel=1e-9)


def test_digamma_and_trigamma() -> None:
    assert digamma(1) == pytest.approx(-EULER, abs=1e-9)
    assert digamma(0.5) == pytest.approx(-EULER - 2 * math.log(2), abs=1e-9)
    assert trigamma(1) == pytest.approx(math.pi**2 / 6, abs=1e-9)
    assert trigamma(0.5) == pytest.approx(math.pi**2 / 2, abs=1e-9)
    for x in (0.01, 0.5, 3.0, 1000.0):
        assert inverse_trigamma(trigamma(x)) == pytest.approx(x, rel=1e-6)


def test_benjamini_and_hochbergs_own_example() -> None:
    """The fifteen p-values of their paper: four discoveries at 5 %, where Bonferroni makes three."""
    p_values = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528,
                0.7590, 1.0000]  # fmt: skip
    found = adjust(p_values)
    assert sum(q <= 0.05 for q in found) == 4
    assert found[:2] == pytest.approx([0.0015, 0.003])
    assert found == sorted(found)
    mixed = adjust(p_values[::-1])
    assert mixed[::-1] == pytest.approx(found)
    assert adjust([]) == []


def test_the_prior_is_found_again() -> None:
    """Variances of 4 degrees of freedom, drawn from a prior that is worth 8."""
    source = random.Random(3)

    def chi_square(n: int) -> float:
        return sum(source.gauss(0, 1) ** 2 for _ in range(n))

    true = [0.04 * 8 / chi_square(8) for _ in range(20_000)]
    prior = fit_prior([(one * chi_square(4) / 4, 4) for one in true])
    assert prior.variance == pytest.approx(0.04, rel=0.05)
    assert prior.freedom == pytest.approx(8, rel=0.15)


def test_equal_variances_are_worth_infinitely_many() -> None:
    assert fit_prior([(0.5, 4)] * 10).freedom >= 1e6
    assert fit_prior([(0.0, 4)] * 10) == Prior(0.0, 1e6)


def test_p_values_of_equal_items_are_evenly_spread() -> None:
    source = random.Random(5)
    items = []
    for _ in range(5000):
        spread = math.sqrt(0.01 * 4 / sum(source.gauss(0, 1) ** 2 for _ in range(4)))
        values = [source.gauss(10, spread) for _ in range(6)]
        items.append(Samples(values[:3], values[3:]))
    found = sorted(moderated_p_values(items))
    for share in (0.01, 0.1, 0.5, 0.9):
        assert found[int(share * len(found))] == pytest.approx(share, rel=0.25)


def test_an_item_that_agrees_by_chance_is_no_discovery() -> None:
    """Without moderation, three values that are almost the same on each side would be one."""
    source = random.Random(7)
    items = [
        Samples([source.gauss(0, 0.1) for _ in range(3)], [source.gauss(0, 0.1) for _ in range(3)]) for _ in range(500)
    ]
    items.append(Samples([0.0, 0.0, 0.0], [0.01, 0.01, 0.01]))
    assert moderated_p_values(items)[-1] > 0.1
    assert moderated_p_values([]) == []


def test_counting_alone_is_a_lower_bound_of_the_variance() -> None:
    quiet = [Samples([5.0, 5.0], [5.0, 5.0], 0.0) for _ in range(20)]
    tested = Samples([0.0, 0.0], [1.0, 1.0], noise=0.5)
    assert moderated_p_values([*quiet, tested])[-1] > 0.01
    assert moderated_p_values([*quiet, Samples([0.0, 0.0], [1.0, 1.0], noise=1e-6)])[-1] < 1e-4
    assert moderated_p_values([*quiet, Samples([0.0, 0.0], [1.0, 1.0], noise=1e-6, chance=0.25)])[-1] == 0.25


@pytest.mark.parametrize("n", [2 * 10**9, 10**15, 1 << 64])
def test_counts_of_any_size_have_a_probability(n: int) -> None:
    deviation = math.isqrt(n) // 2  # one standard deviation of n calls that fall on two sides
    assert binomial_p(n // 2, n // 2, 0.5) == 1
    assert binomial_p(n // 2 + deviation, n // 2 - deviation, 0.5) == pytest.approx(0.3173, rel=1e-3)
    assert binomial_p(n, n // 2, 0.5) == 0


@pytest.mark.parametrize("repeats", [2, 3])
def test_a_few_items_that_vary_more_than_all_others_give_no_discovery(repeats: int) -> None:
    source = random.Random(7)
    n_wrong = n_missed = 0
    for _ in range(100):
        items = []
        for n in range(130):
            spread = 0.2 if n < 3 else 0.03
            values = [source.gauss(10, spread) for _ in range(2 * repeats)]
            changed = [value + math.log(2) for value in values[repeats:]] if n == 129 else values[repeats:]
            items.append(Samples(values[:repeats], changed, noise=0.0008))
        found = [place for place, q in enumerate(adjust(moderated_p_values(items))) if q <= 0.001]
        n_wrong += found not in ([], [129])
        n_missed += 129 not in found
    assert n_wrong <= 4  # if all items were taken for alike: 25 with two repeats, 6 with three
    assert n_missed <= 5

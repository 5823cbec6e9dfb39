"""Bisection finds exactly the refused functions, within the documented number of attempts."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from math import ceil, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multiprobe.links.mechanisms.bisect import MAX_CULPRITS_IN_A_ROW, NoCulpritError, find_culprits


class Kernel:
    """Refuses every batch that has a guilty member, with the errno of the first."""

    def __init__(self, guilty: dict[int, int]) -> None:
        self.guilty = guilty
        self.attempts = 0

    def attempt(self, part: Sequence[int]) -> int:
        self.attempts += 1
        return next((self.guilty[item] for item in part if item in self.guilty), 0)


@given(st.data())
def test_finds_exactly_the_guilty(data: st.DataObject) -> None:
    n = data.draw(st.integers(2, 400))
    guilty = data.draw(
        st.dictionaries(st.integers(0, n - 1), st.sampled_from([errno.EINVAL, errno.ENOENT]), min_size=1, max_size=9)
    )
    kernel = Kernel(guilty)
    found = find_culprits(list(range(n)), kernel.attempt, errno=kernel.attempt(range(n)))
    assert found == guilty
    assert kernel.attempts <= 1 + 2 * len(guilty) * ceil(log2(n))


def test_a_single_function_is_its_own_culprit() -> None:
    assert find_culprits([7], lambda part: 0, errno=errno.EINVAL) == {7: errno.EINVAL}


def test_parts_accepted_but_not_the_whole() -> None:
    with pytest.raises(NoCulpritError) as caught:
        find_culprits([1, 2, 3, 4], lambda part: errno.EINVAL if len(part) > 2 else 0, errno=errno.EINVAL)
    assert caught.value.errno == errno.EINVAL


def test_stops_where_nothing_is_ever_accepted() -> None:
    attempts = 0

    def refuse(part: Sequence[int]) -> int:
        nonlocal attempts
        attempts += 1
        return errno.EINVAL

    with pytest.raises(NoCulpritError):
        find_culprits(range(100_000), refuse, errno=errno.EINVAL)
    assert attempts < 4 * MAX_CULPRITS_IN_A_ROW + 2 * 17

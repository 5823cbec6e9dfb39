"""A sample of the crash trials that `make crashes` makes: every harm once, to commands chosen at random, on one of the
kernels.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from crashes import CGROUP, HARMS, Crashes
from turns import in_turn


@pytest.fixture(scope="module")
def crashes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crashes]:
    with pytest.MonkeyPatch.context() as environment:
        directory = tmp_path_factory.mktemp("crashes")
        environment.setenv("MULTIPROBE_CACHE", str(directory / "cache"))
        yield Crashes(20261128, directory)
    if CGROUP.exists():
        CGROUP.rmdir()


@pytest.mark.parametrize("number", in_turn(range(len(HARMS))))
def test_nothing_is_left_of_what_was(crashes: Crashes, number: int) -> None:
    assert crashes.run(number) == []

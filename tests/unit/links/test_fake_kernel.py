"""The scenarios that real kernels run too (tests/kernel/test_scenarios.py), on a fake kernel of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import multiprobe as mp
from fake_kernel import PROFILES, FakeKernel, Profile
from scenarios.answers import *  # noqa: F403
from scenarios.attaching import *  # noqa: F403


@pytest.fixture(params=PROFILES)
def profile(request: pytest.FixtureRequest, directory: Path) -> Iterator[Profile]:
    with FakeKernel(directory, PROFILES[request.param]) as fake:
        yield fake.profile
    assert fake.left() == []


@pytest.fixture
def kernel(profile: Profile) -> mp.Kernel:
    return mp.Kernel()

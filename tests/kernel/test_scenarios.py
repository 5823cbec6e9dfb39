"""The scenarios of the fake kernel on this one: what the fake answers is what kernels answer."""

from __future__ import annotations

import os

import pytest

import multiprobe as mp
from fake_kernel import PROFILES, Profile
from scenarios.answers import *  # noqa: F403
from scenarios.attaching import *  # noqa: F403


@pytest.fixture(scope="module")
def profile() -> Profile:
    return PROFILES[".".join(os.uname().release.split(".")[:2])]


@pytest.fixture(scope="module")
def kernel() -> mp.Kernel:
    return mp.Kernel()

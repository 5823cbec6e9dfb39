"""Fixtures of suites in guests: the kernel must be left as it was found."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

import leftovers
import multiprobe as mp
from multiprobe.kernel.features import Features
from multiprobe.kernel.mechanism import MECHANISMS


@pytest.fixture(scope="session", autouse=True)
def what_was_tested(record_testsuite_property: Callable[[str, object], None]) -> None:
    """The kernel's release and features, in the report: tests/support.py reads them."""
    record_testsuite_property("release", os.uname().release)
    kernel, features = mp.Kernel(), Features()
    names = [name for name in MECHANISMS if kernel.has(name)]
    names += [name for name in ("kprobe_session", "fsession") if features.probe(name).is_yes]
    record_testsuite_property("features", " ".join(names))


@pytest.fixture(scope="module", autouse=True)
def the_kernel_does_not_complain(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each module: no new complaint in the kernel log, but for the module's KNOWN_COMPLAINT."""
    before = Counter(leftovers.complaints(leftovers.kernel_log()))
    yield
    known = getattr(request.module, "KNOWN_COMPLAINT", "")
    complaints = Counter(leftovers.complaints(leftovers.kernel_log(), known=known)) - before
    assert not complaints, "the kernel complained:\n" + "\n".join(complaints)


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """After all tests: no link, program, map or probe more than before."""
    complaints = leftovers.complaints(leftovers.kernel_log())
    assert not complaints, "the kernel complained before the first test:\n" + "\n".join(complaints)
    before = leftovers.take()
    yield
    left = leftovers.wait_until_gone(before)
    assert not left, "left behind: " + "; ".join(left)

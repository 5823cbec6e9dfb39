"""The kernel tests run in a guest only, must say why they skip, and must leave the kernel as they found it."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import leftovers
import pytest

GUEST_MARK = "multiprobe.guest=1"
TEST_SECONDS = int(os.environ.get("MULTIPROBE_TEST_SECONDS", "960"))

#: What the kernels that we test on lack. A test may skip with the reason "this kernel has no NAME" and no other; the
#: name's dots and underscores are the same. Of a kernel that isn't listed any such reason is believed.
LACKING = {
    "6.1": {"kprobe_multi", "kprobe_session", "tracing_multi", "fsession", "ibt", "error_injection"},
    "6.12": {"tracing_multi", "fsession", "error_injection"},
    "7.3": {"struct_return"},  # Debian's: cpuset_mems_allowed returns in a register
}
_REASON = re.compile(r"this kernel has no ([\w.]+)")


def is_guest() -> bool:
    """Whether this kernel is one that was booted to be thrown away."""
    return GUEST_MARK in Path("/proc/cmdline").read_text().split()


def series() -> str:
    return ".".join(os.uname().release.split(".")[:2])


def is_allowed(reason: str, lacking: set[str] | None) -> bool:
    """Whether a test may skip for this reason on a kernel that lacks these; None: what it lacks is not known."""
    match = _REASON.search(reason)
    if match is None or lacking is None:
        return match is not None
    return match[1].strip(".").replace(".", "_").lower() in lacking


def pytest_collection() -> None:
    if not is_guest():
        pytest.exit("these tests attach to the kernel, and run in a guest only: make test", returncode=4)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """One test that hangs must not take the suite with it."""

    def on_alarm(_number: int, _frame: object) -> None:
        raise TimeoutError(f"the test did not end within {TEST_SECONDS} s")

    signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(TEST_SECONDS)
    try:
        return (yield)
    finally:
        signal.alarm(0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Turn a skip that this kernel doesn't justify into a failure."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not is_allowed(reason, LACKING.get(series())):
            report.outcome = "failed"
            report.longrepr = f"skipped without a right to, on {series()}: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """The same for a module that skips as a whole."""
    report = yield
    if report.outcome == "skipped":
        reason = str(report.longrepr)
        if not is_allowed(reason, LACKING.get(series())):
            report.outcome = "failed"
            report.longrepr = f"skipped without a right to, on {series()}: {reason}"
    return report


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """After all tests: no link, program, map or probe more than before, and a clean kernel log."""
    before = leftovers.take()
    yield
    left = leftovers.wait_until_gone(before)
    assert not left, "left behind: " + "; ".join(left)
    complaints = leftovers.complaints(leftovers.kernel_log())
    assert not complaints, "the kernel complained:\n" + "\n".join(complaints)

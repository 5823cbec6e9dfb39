"""The kernel tests run in a guest only, must say why they skip, and must leave the kernel as they found it."""

from __future__ import annotations

import inspect
import os
import re
import signal
from collections.abc import Iterator

import pytest
from words import words

import missed
from in_guests import nothing_is_left_behind, the_kernel_does_not_complain, what_was_tested  # noqa: F401
from places import IS_GUEST

TRIES = 5
TEST_SECONDS = int(os.environ.get("MULTIPROBE_TEST_SECONDS", "960"))

#: What a kernel may lack: a test may skip with the reason "this kernel has no NAME" (dots and underscores are the same)
#: and no other, and only where the kernel's own words, which multiprobe does not ask, say so: all of these symbols, and
#: the value of enum bpf_attach_type, are there if the feature is. Without either, the test is believed.
FEATURES: dict[str, tuple[str, ...]] = {
    "kprobe_multi": ("register_fprobe", "BPF_TRACE_KPROBE_MULTI"),
    "kprobe_session": ("register_fprobe", "BPF_TRACE_KPROBE_SESSION"),
    "tracing_multi": ("BPF_TRACE_FENTRY_MULTI",),
    "fsession": ("BPF_TRACE_FSESSION",),
    "error_injection": ("within_error_injection_list",),
    "struct_return": (),  # Debian's 7.3: cpuset_mems_allowed returns in a register
}
_REASON = re.compile(r"this kernel has no ([\w.]+)")


def is_allowed(reason: str) -> bool:
    """Whether a test may skip for this reason on this kernel."""
    match = _REASON.search(reason)
    wanted = FEATURES.get(match[1].strip(".").replace(".", "_").lower()) if match else None
    return wanted is not None and (not wanted or not words().issuperset(wanted))


def pytest_collection() -> None:
    if not IS_GUEST:
        pytest.exit("these tests attach to the kernel, and run in a guest only: make test", returncode=4)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of memory first: slabs that other tests have freed, but not given back, would be used again."""
    items.sort(key=lambda item: item.path.name != "test_memory.py")


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


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool:
    """Call a test again if it fails where the kernel missed calls, as the reports of its commands say: they may be what
    the test misses. The last of `TRIES` counts as it is."""
    wanted = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    for _ in range(TRIES - 1):
        missed.forget()
        try:
            pyfuncitem.obj(**wanted)
            return True
        except Exception as error:
            if isinstance(error, TimeoutError) or not missed.n_calls:
                raise
            print(f"failed where {missed.n_calls} calls were missed, and is run again: {error!r}")
    pyfuncitem.obj(**wanted)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Turn a skip that this kernel doesn't justify into a failure."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not is_allowed(reason):
            report.outcome = "failed"
            report.longrepr = f"skipped without a right to, on {os.uname().release}: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """The same for a module that skips as a whole."""
    report = yield
    if report.outcome == "skipped":
        reason = str(report.longrepr)
        if not is_allowed(reason):
            report.outcome = "failed"
            report.longrepr = f"skipped without a right to, on {os.uname().release}: {reason}"
    return report

"""The kernel tests run in a guest only, must say why they skip, and must leave the kernel as they found it."""

from __future__ import annotations

import inspect
import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import leftovers
import pytest
from words import words

import missed
import multiprobe as mp
from multiprobe.kernel.features import Features
from multiprobe.kernel.mechanism import MECHANISMS
from places import IS_GUEST

TRIES = 5
SINGLES = ("kprobe", "trampoline")
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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--elsewhere",
        action="append",
        default=[],
        metavar="SERIES",
        help="leave out the tests marked once(SERIES): the suite of that kernel runs them (may be repeated)",
    )
    parser.addoption(
        "--without-singles",
        action="store_true",
        help="leave out the cases of mechanisms that attach one function at a time: suites of other kernels have them",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what another suite runs, and run the tests of memory first: slabs that other tests have freed, but not
    given back, would be used again there."""
    others, without = config.getoption("--elsewhere"), SINGLES if config.getoption("--without-singles") else ()
    elsewhere = {item for item in items if is_elsewhere(item, others, without)}
    config.hook.pytest_deselected(items=elsewhere)
    items[:] = [item for item in items if item not in elsewhere]
    items.sort(key=lambda item: item.path.name != "test_memory.py")


def is_elsewhere(item: pytest.Item, others: list[str], without: Sequence[str]) -> bool:
    """Whether the suite of another kernel runs this test."""
    mark = item.get_closest_marker("once")
    if mark is not None:
        return mark.args[0] in others
    case = getattr(item, "callspec", None)  # of a test with parameters
    return case is not None and case.params.get("mechanism") in without


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

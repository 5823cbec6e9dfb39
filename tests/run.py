"""`make test`: unit and property tests here, then the kernel tests in guests, two at a time, and one line of counts.

    python tests/run.py SERIES…

A guest that is lost is no failed test: its suite is run once more, and the loss is told at the end by itself. The exit
status is 0 only if nothing failed and every suite came to its end.
"""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTEST = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
GUESTS_AT_ONCE = 2
SUITE_SECONDS = 2400
CPUS = {"6.12": 2}
DOCS = ("6.12",)  # what README and docs say is run in one kernel: a command each, which takes its time
TRIES = 2
LOST = 1

_print_lock = threading.Lock()


@dataclass(frozen=True)
class Counts:
    """Tests by outcome, and the names of those that failed."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: tuple[str, ...] = ()

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.passed + other.passed,
            self.failed + other.failed,
            self.skipped + other.skipped,
            self.failures + other.failures,
        )

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


@dataclass(frozen=True)
class Outcome:
    """How one suite ended; `events` are things that happened to its guest."""

    suite: str
    counts: Counts
    seconds: float
    is_complete: bool = True
    events: tuple[str, ...] = ()


def count(report: Path, suite: str) -> Counts | None:
    """The counts in a JUnit report, or None if there is none (the suite did not come to its end)."""
    try:
        tree = ElementTree.parse(report)
    except (OSError, ElementTree.ParseError):
        return None
    outcomes: dict[str, str] = {}
    for case in tree.iter("testcase"):
        name = f"{suite} {case.get('classname', '')}::{case.get('name', '')}"
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        if outcomes.get(name) != "failed":  # an error while cleaning up comes as a second case
            outcomes[name] = outcome
    every = list(outcomes.values())
    failures = tuple(name for name, outcome in outcomes.items() if outcome == "failed")
    return Counts(every.count("passed"), every.count("failed"), every.count("skipped"), failures)


def stream(label: str, command: list[str]) -> int:
    """Run a command, its output line by line with a label before each."""
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            text = line.decode(errors="replace").rstrip()
            with _print_lock:
                print(f"[{label}] {text}" if text else "", flush=True)
    return process.returncode


def run_here(suite: str, *paths: str) -> Outcome:
    """Run a suite on this machine (nothing of it touches this machine's kernel)."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        report = Path(place, "report.xml")
        status = stream(suite, [*PYTEST, f"--junitxml={report}", *paths])
        counts = count(report, suite)
    is_complete = counts is not None and status in (0, 1)
    return Outcome(suite, counts or Counts(), time.monotonic() - start, is_complete)


def run_in_guest(series: str) -> Outcome:
    """Run the kernel tests in a guest; once more if it is lost."""
    start = time.monotonic()
    events: list[str] = []
    last = start
    with tempfile.TemporaryDirectory(prefix="multiprobe-test-") as place:
        for attempt in range(1, TRIES + 1):
            report = Path(place, f"report-{attempt}.xml")
            status = stream(series, guest_command(series, Path(place), report))
            counts = count(report, series)
            if counts is not None:
                is_complete = status in (0, 1)
                return Outcome(series, counts, time.monotonic() - start, is_complete, tuple(events))
            last, spent = time.monotonic(), time.monotonic() - last
            if status != LOST or spent > SUITE_SECONDS:
                events.append(f"the suite in kernel {series} did not end within {spent:.0f} s (status {status})")
                break
            events.append(f"the guest with kernel {series} was lost (attempt {attempt} of {TRIES})")
    return Outcome(series, Counts(), time.monotonic() - start, False, tuple(events))


def guest_command(series: str, place: Path, report: Path) -> list[str]:
    """The command line that runs the kernel tests in a guest, its report in a directory shared with it."""
    guest = ["--kernel", series, "--cpus", str(CPUS.get(series, 1)), "--share", str(place)]
    tests = [*PYTEST, "-vv", "-p", "no:hypothesispytest", f"--junitxml={report}", "tests/kernel"]
    if series not in DOCS:
        tests.append("--ignore=tests/kernel/test_docs.py")
    return [sys.executable, "-m", "multiprobe", "vm", *guest, "--timeout", str(SUITE_SECONDS), "--", *tests]


def main(kernels: list[str]) -> int:
    """Run everything, and end with the counts."""
    os.environ.setdefault("COLUMNS", "120")
    outcomes = [run_here("unit", "tests/unit", "tests/properties")]
    for folder in ("src", "tests", "examples"):  # an emulated processor would take twenty times as long
        compileall.compile_dir(ROOT / folder, quiet=2)
    with ThreadPoolExecutor(GUESTS_AT_ONCE) as pool:
        jobs = [pool.submit(run_in_guest, series) for series in reversed(kernels)]  # newer ones have more to test
        jobs.append(pool.submit(run_here, "vm", "tests/vm"))
        outcomes += [job.result() for job in jobs]
    total = sum((outcome.counts for outcome in outcomes), Counts())
    print()
    for outcome in outcomes:
        incomplete = "" if outcome.is_complete else "  DID NOT COME TO ITS END"
        print(f"{outcome.suite:8} {outcome.counts}  ({outcome.seconds:.0f} s){incomplete}")
    for name in total.failures:
        print(f"FAILED   {name}")
    for outcome in outcomes:
        for event in outcome.events:
            print(f"EVENT    {event}")
    print(total, flush=True)
    return 0 if not total.failed and all(outcome.is_complete for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

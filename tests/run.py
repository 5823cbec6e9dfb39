"""`make test`: unit and property tests here, most unit tests on a second Python too where there is one, kernel tests in
guests, two guests at a time and one suite beside them, and one line of counts.

    python tests/run.py [--kernels-only] [--reports DIR] SERIES…

A suite may take as long as the machine needs; it is ended only after `SILENT_SECONDS` without any output. The suite of
a guest that is lost is run once more, and the loss is reported by itself. So are the few tests that failed in a guest,
in a new one: an emulated kernel loses time, and other tasks, in ways that have nothing to do with multiprobe. A test
that passes then is unsteady: it is shown with its first failure, and is to be mended. The exit status is 0 only if no
other test failed and every suite was completed.
"""

from __future__ import annotations

import argparse
import compileall
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTEST = ["-m", "pytest", "-p", "no:cacheprovider"]
GUESTS_AT_ONCE = 2
"""A third makes each of them so slow on two processors that what it shows is not what a machine does."""
ON_ONE_PYTHON = (
    *("unit/test_lint.py", "unit/test_layers.py", "unit/test_docs_parse.py", "unit/test_doc_blocks.py"),
    *("unit/cli/test_widths.py", "unit/cli/test_cli_output_file.py"),
    *("unit/links/test_rights.py", "unit/links/test_faults.py", "unit/instruments/test_instruments_errors.py"),
    *("unit/binaries/test_binaries_inlined.py", "unit/binaries/test_binaries_types.py", "unit/hosts/test_fleet.py"),
)
"""Tests of the tree, and those that try very many cases or start many processes: no other Python changes their
outcome."""
NICE = 5
"""Of suites on this machine: beside guests on both processors they go on, at a quarter of their speed."""
SILENT_SECONDS = 1800
"""Longer than any one test may take, which tests/kernel/conftest.py bounds."""
ENDING_SECONDS = 60
STALLED = -1
PYTHONS = ("3.14", "3.13", "3.12", "3.11")
CPUS = {"6.12": 2}
USER_SINCE = (6, 6)
"""The first kernel with uprobe_multi, without which tests of functions of programs are skipped."""
TRIES = 2
FEW = 3
"""Tests of one kernel that are run once more where they failed: where more fail, there is something wrong."""
FAILURE_CHARACTERS = 2000
"""Of what pytest says about a failure, shown again at the end: the whole is further up."""
LOST = 1

_print_lock = threading.Lock()


@dataclass(frozen=True)
class Failure:
    """A test that failed, and the end of what pytest said."""

    suite: str
    module: str
    name: str
    text: str

    @property
    def path(self) -> str:
        """The test as pytest's command line names it."""
        return f"{self.module.replace('.', '/')}.py::{self.name}"

    def __str__(self) -> str:
        return f"{self.suite} {self.module}::{self.name}\n{self.text}"


@dataclass(frozen=True)
class Counts:
    """Tests by outcome, and those that failed."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: tuple[Failure, ...] = ()

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
    outcomes: dict[tuple[str, str], str] = {}
    failures: list[Failure] = []
    for case in tree.iter("testcase"):
        name = case.get("classname", ""), case.get("name", "")
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        if outcomes.get(name) != "failed":  # an error while cleaning up comes as a second case
            outcomes[name] = outcome
        texts = [child.text or "" for child in case if child.tag in ("failure", "error")]
        failures += [Failure(suite, *name, text[-FAILURE_CHARACTERS:]) for text in texts]
    every = list(outcomes.values())
    return Counts(every.count("passed"), every.count("failed"), every.count("skipped"), tuple(failures))


def stream(label: str, command: list[str], silent_seconds: float = SILENT_SECONDS) -> int:
    """Run a command, its output line by line with a label before each; STALLED if it was ended for its silence."""
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        pending = b""
        while select.select([process.stdout], [], [], silent_seconds)[0]:
            chunk = os.read(process.stdout.fileno(), 1 << 16)
            if not chunk:
                show(label, pending)
                return process.wait()
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                show(label, line)
        end(process)
    return STALLED


def show(label: str, line: bytes) -> None:
    text = line.decode(errors="replace").rstrip()
    with _print_lock:
        print(f"[{label}] {text}" if text else "", flush=True)


def end(process: subprocess.Popen[bytes]) -> None:
    """Interrupt a command, which ends its guest; kill it where that does not help."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def run_here(suite: str, *paths: str, python: str = sys.executable) -> Outcome:
    """Run a suite on this machine, behind the guests, whose suites take longer."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        report = Path(place, "report.xml")
        status = stream(suite, ["nice", "-n", str(NICE), python, *PYTEST, f"--junitxml={report}", *paths])
        counts = count(report, suite)
    is_complete = counts is not None and status in (0, 1)
    return Outcome(suite, counts or Counts(), time.monotonic() - start, is_complete)


def suites_of(series: str) -> list[tuple[str, ...]]:
    """The folders of each suite of a kernel; a guest only for what nearly all skip would be a waste."""
    numbers = tuple(int(number) for number in series.partition("-")[0].split("."))
    return [("kernel", "user")] if numbers < USER_SINCE else [("kernel",), ("user",)]


def run_in_guest(series: str, folders: Sequence[str], kernels: list[str], reports: Path | None = None) -> Outcome:
    """Run folders of tests in a guest; once more if it is lost, and the few that failed once more in a new guest.

    The JUnit reports are kept as `reports`/SERIES FOLDERS.xml and SERIES FOLDERS.again.xml.
    """
    start, suite = time.monotonic(), f"{series} {'+'.join(folders)}"
    events: list[str] = []
    with tempfile.TemporaryDirectory(prefix="multiprobe-test-") as place:
        for attempt in range(1, TRIES + 1):
            report = Path(place, f"report-{attempt}.xml")
            status = stream(suite, guest_command(series, kernels, report, [f"tests/{folder}" for folder in folders]))
            counts = count(report, suite)
            if counts is not None:
                is_complete = status in (0, 1)
                if reports:
                    shutil.copyfile(report, reports / f"{suite}.xml")
                if is_complete and 0 < counts.failed <= FEW:
                    again = Path(place, "again.xml")
                    counts, unsteady = run_again(counts, series, suite, again)
                    events += unsteady
                    if reports and again.exists():
                        shutil.copyfile(again, reports / f"{suite}.again.xml")
                return Outcome(suite, counts, time.monotonic() - start, is_complete, tuple(events))
            if status == STALLED:
                events.append(f"the suite {suite} printed nothing for {SILENT_SECONDS} s and was ended")
                break
            if status != LOST:
                events.append(f"the suite {suite} ended without a report (status {status})")
                break
            events.append(f"the guest of {suite} was lost (attempt {attempt} of {TRIES})")
    return Outcome(suite, Counts(), time.monotonic() - start, False, tuple(events))


def run_again(counts: Counts, series: str, suite: str, report: Path) -> tuple[Counts, list[str]]:
    """The counts after the tests that failed have run once more in a new guest, and words on each that passed."""
    tests = sorted({failure.path for failure in counts.failures})
    status = stream(suite, guest_command(series, [], report, tests))
    second = count(report, suite)
    if second is None or status not in (0, 1):
        return counts, []
    failed = {failure.path for failure in second.failures}
    n_passed = len(tests) - len(failed)
    after = Counts(counts.passed + n_passed, counts.failed - n_passed, counts.skipped, second.failures)
    unsteady = [failure for failure in counts.failures if failure.path not in failed]
    return after, [f"UNSTEADY: failed, and passed when run once more: {failure}" for failure in unsteady]


def guest_command(series: str, kernels: list[str], report: Path, tests: Sequence[str]) -> list[str]:
    """The command line that runs tests in a guest, its report in a directory shared with it."""
    guest = ["--kernel", series, "--cpus", str(CPUS.get(series, 1)), "--share", str(report.parent)]
    pytest = [sys.executable, *PYTEST, "-vv", "-p", "no:hypothesispytest", f"--junitxml={report}", *tests]
    pytest += [f"--elsewhere={other}" for other in kernels if other != series]
    if kernels[1:-1] == [series]:  # the oldest and the newest try them
        pytest += ["--without-singles"]
    return [sys.executable, "-m", "multiprobe", "vm", *guest, "--", *pytest]


def find_second_python() -> tuple[str, str] | None:
    """(version, path) of the newest other Python that can make environments, among those on PATH and pyenv's."""
    current = f"{sys.version_info.major}.{sys.version_info.minor}"
    root = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    for version in PYTHONS:
        if version == current:
            continue
        check = f"import ensurepip, venv, sys; assert '%d.%d' % sys.version_info[:2] == '{version}'"
        for path in [shutil.which(f"python{version}"), *map(str, root.glob(f"versions/{version}.*/bin/python"))]:
            if path and subprocess.run([path, "-c", check], capture_output=True, check=False).returncode == 0:
                return version, path
    return None


def run_on_second_python() -> Outcome | None:
    """The unit tests on another Python, in an environment `.venv-VERSION`; None if there is no other."""
    found = find_second_python()
    if found is None:
        return None
    version, path = found
    suite, start = f"py{version}", time.monotonic()
    environment = ROOT / f".venv-{version}"
    python = str(environment / "bin/python")
    status = 0 if Path(python).exists() else stream(suite, [path, "-m", "venv", str(environment)])
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore"]
    status = status or stream(suite, [python, *install, "-c", "tools/constraints.txt", "-e", ".[dev,inspect]"])
    if status:  # the package index is out of reach, for example
        event = f"not run on Python {version}: its environment could not be installed (status {status})"
        return Outcome(suite, Counts(), time.monotonic() - start, events=(event,))
    ignored = [f"--ignore=tests/{name}" for name in ON_ONE_PYTHON]
    return run_here(suite, "tests/unit", *ignored, python=python)


def main(kernels: list[str], *, kernels_only: bool = False, reports: Path | None = None) -> int:
    """Run everything, the longest suites first, and end with the counts.

    Most kernels have two suites, each with a guest of its own, so that two guests at once can share the work evenly.
    """
    if reports:
        reports.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("COLUMNS", "120")
    for folder in ("src", "tests", "examples"):  # an emulated processor would take twenty times as long
        compileall.compile_dir(ROOT / folder, quiet=2)
    with ThreadPoolExecutor(GUESTS_AT_ONCE) as guests, ThreadPoolExecutor(1) as beside:
        jobs: list[Future[Outcome | None]] = []

        def run_in_guests(suites: Iterable[tuple[str, tuple[str, ...]]]) -> None:
            jobs.extend(guests.submit(run_in_guest, *suite, kernels, reports) for suite in suites)

        newest_first = kernels[::-1]  # newer ones have more to test
        run_in_guests((series, suites_of(series)[0]) for series in newest_first)
        if not kernels_only:
            jobs += [guests.submit(run_here, "vm", "tests/vm")]  # boots guests
            jobs += [beside.submit(run_here, "user", "tests/user")]  # first: guests take what it compiles
            jobs += [beside.submit(run_here, "unit", "tests/unit", "tests/properties")]
            jobs += [beside.submit(run_on_second_python)]
            jobs += [beside.submit(run_here, "outside", "tests/outside")]
        run_in_guests((series, folders) for series in newest_first for folders in suites_of(series)[1:])
        outcomes = [outcome for job in jobs if (outcome := job.result()) is not None]
    total = sum((outcome.counts for outcome in outcomes), Counts())
    print()
    for outcome in outcomes:
        incomplete = "" if outcome.is_complete else "  NOT COMPLETED"
        print(f"{outcome.suite:11} {outcome.counts}  ({outcome.seconds:.0f} s){incomplete}")
    for failure in total.failures:
        print(f"FAILED   {failure}")
    for outcome in outcomes:
        for event in outcome.events:
            print(f"EVENT    {event}")
    print(total, flush=True)
    return 0 if not total.failed and all(outcome.is_complete for outcome in outcomes) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kernels", nargs="+", metavar="SERIES")
    parser.add_argument("--kernels-only", action="store_true", help="only the kernel tests")
    parser.add_argument("--reports", type=Path, help="keep the JUnit reports of the kernel tests in this directory")
    options = parser.parse_args()
    sys.exit(main(options.kernels, kernels_only=options.kernels_only, reports=options.reports))

"""`make test`: what it makes of the reports of suites in guests, and which tests are run once more."""

from __future__ import annotations

import importlib.util
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = Path(__file__).parents[1] / "run.py"
Results = dict[str, bool]


@pytest.fixture(scope="module")
def suites() -> Iterator[ModuleType]:
    specification = importlib.util.spec_from_file_location("run_suites", SOURCE)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["run_suites"] = module
    specification.loader.exec_module(module)
    yield module
    del sys.modules["run_suites"]


class Guests:
    """Stands for guests: writes the JUnit report of each run in turn. A run is tests and whether they pass, or lost."""

    def __init__(self, *runs: Results | None) -> None:
        self._runs = iter(runs)
        self.commands: list[list[str]] = []

    def stream(self, _label: str, command: list[str]) -> int:
        self.commands.append(command)
        results = next(self._runs)
        if results is None:
            return 1
        root = ElementTree.Element("testsuite")
        for name, has_passed in results.items():
            case = ElementTree.SubElement(root, "testcase", classname="tests.kernel.test_a", name=name)
            if not has_passed:
                ElementTree.SubElement(case, "failure").text = f"why {name} failed"
        (report,) = [word.partition("=")[2] for word in command if word.startswith("--junitxml=")]
        ElementTree.ElementTree(root).write(report)
        return int(not all(results.values()))

    @property
    def tests(self) -> list[list[str]]:
        """The tests that each run named."""
        return [[word for word in command if word.startswith("tests/")] for command in self.commands]


def test_tests_that_pass_run_once(suites: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    guests = Guests({"test_x": True, "test_y": True})
    monkeypatch.setattr(suites, "stream", guests.stream)
    outcome = suites.run_in_guest("6.12", ("kernel",), ["6.1", "6.12"])
    assert (outcome.counts, outcome.is_complete, outcome.events) == (suites.Counts(passed=2), True, ())
    assert guests.tests == [["tests/kernel"]]
    assert "--elsewhere=6.1" in guests.commands[0]


@pytest.mark.parametrize("series", ["6.1", "6.12", "7.3"])
def test_the_kernel_in_the_middle_leaves_out_what_attaches_one_function_at_a_time(
    suites: ModuleType, series: str, tmp_path: Path
) -> None:
    command = suites.guest_command(series, ["6.1", "6.12", "7.3"], tmp_path / "report.xml", [])
    assert ("--without-singles" in command) == (series == "6.12")
    assert "--without-singles" not in suites.guest_command(
        series, ["6.1", "6.12", "6.18", "7.3"], tmp_path / "report", []
    )


def test_a_kernel_that_skips_nearly_all_of_user_has_no_guest_for_it(
    suites: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {series: suites.suites_of(series) for series in ("6.1", "6.12", "6.12-rt", "7.3")}
    assert found.pop("6.1") == [("kernel", "user")]
    assert all(suites == [("kernel",), ("user",)] for suites in found.values())
    guests = Guests({"test_x": True})
    monkeypatch.setattr(suites, "stream", guests.stream)
    assert suites.run_in_guest("6.1", ("kernel", "user"), ["6.1"]).suite == "6.1 kernel+user"
    assert guests.tests == [["tests/kernel", "tests/user"]]


def test_what_failed_runs_once_more_and_is_shown(suites: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    guests = Guests({"test_x": True, "test_y[a b]": False, "test_z": False}, {"test_y[a b]": True, "test_z": False})
    monkeypatch.setattr(suites, "stream", guests.stream)
    outcome = suites.run_in_guest("6.12", ("kernel",), ["6.1", "6.12"])
    assert guests.tests[1] == ["tests/kernel/test_a.py::test_y[a b]", "tests/kernel/test_a.py::test_z"]
    assert "--elsewhere=6.1" not in guests.commands[1]
    assert (outcome.counts.passed, outcome.counts.failed) == (2, 1)
    assert [failure.name for failure in outcome.counts.failures] == ["test_z"]
    (event,) = outcome.events
    assert event.startswith(
        "UNSTEADY: failed, and passed when run once more: 6.12 kernel tests.kernel.test_a::test_y[a b]"
    )
    assert "why test_y[a b] failed" in event


def test_where_many_fail_none_runs_once_more(suites: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    results = {f"test_{n}": False for n in range(suites.FEW + 1)}
    guests = Guests(results)
    monkeypatch.setattr(suites, "stream", guests.stream)
    assert suites.run_in_guest("6.12", ("kernel",), ["6.12"]).counts.failed == len(results)
    assert len(guests.commands) == 1


def test_a_second_guest_that_is_lost_changes_nothing(suites: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    guests = Guests({"test_x": True, "test_y": False}, None)
    monkeypatch.setattr(suites, "stream", guests.stream)
    outcome = suites.run_in_guest("6.12", ("kernel",), ["6.12"])
    assert (outcome.counts.passed, outcome.counts.failed, outcome.events) == (1, 1, ())


def test_a_guest_that_is_lost_is_started_once_more(suites: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    guests = Guests(None, {"test_x": True})
    monkeypatch.setattr(suites, "stream", guests.stream)
    outcome = suites.run_in_guest("6.12", ("kernel",), ["6.12"])
    assert outcome.counts == suites.Counts(passed=1)
    assert outcome.is_complete
    assert outcome.events == ("the guest of 6.12 kernel was lost (attempt 1 of 2)",)

"""`multiprobe errors` over a fake instrument: what is asked of it, and what is printed."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import pytest

import multiprobe as mp
from multiprobe.cli.errors import ErrorsMeasurement, ErrorsOptions
from multiprobe.cli.main import run
from multiprobe.instruments.errors import instrument as errors
from multiprobe.instruments.errors.failures import NULL, FailedCall, FailureGroup
from multiprobe.instruments.errors.instrument import ErrorsSample

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import FakeWorld

ENOSPC, EIO = 28, 5
FAILURES = [
    FailedCall(10, 7, 8, "cp", ENOSPC, (0, None, 1), True, (1, 2), 0, EIO),
    FailedCall(20, 7, 7, "ls", NULL, (1,), False, (0,), 1, NULL),
    FailedCall(30, 7, 7, "ls", ENOSPC, (0, 1), False, (0,), 0, 0),
    FailedCall(40, 7, 7, "ls", ENOSPC, (0, 1), False, (0,), None, 0),
]


class FakeWatching:
    n_untyped = 2
    seconds = 2.0

    def __init__(self, functions: Any, report: Any, on_failure: Any) -> None:
        self.functions = functions
        self.report = report
        self.on_failure = on_failure

    def sample(self) -> ErrorsSample:
        return ErrorsSample(2.0, [FailureGroup(12 - place, failure) for place, failure in enumerate(FAILURES)], 42, 3)

    def finish(self) -> ErrorsSample:
        if self.on_failure is not None:
            for failure in FAILURES:
                self.on_failure(failure)
        return self.sample()

    def poll(self) -> bool:
        return False

    def arguments(self, failure: FailedCall) -> dict[str, Any]:
        return {"inode": hex(failure.arguments[0]), "size": 5}

    def close(self) -> None:
        pass

    def __enter__(self) -> FakeWatching:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def asked(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The options of each start."""
    found: list[dict[str, Any]] = []

    def start(functions: Any, *, on_failure: Any, **options: Any) -> FakeWatching:
        found.append(options)
        return FakeWatching(functions, world.attach(None, functions).report, on_failure)

    monkeypatch.setattr(errors, "start", start)
    return found


def test_groups_as_text(asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["errors", "tcp_*", "-d", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "12  ENOSPC from tcp_recvmsg, returned by tcp_sendmsg as EIO"
    assert lines[1] == "    … > tcp_sendmsg > ? > tcp_recvmsg"
    assert lines[2] == "11  NULL from tcp_recvmsg, returned by tcp_recvmsg as NULL"
    assert lines[4] == "10  ENOSPC from tcp_recvmsg, handled by tcp_sendmsg"
    assert lines[6] == " 9  ENOSPC from tcp_recvmsg, its end was not seen"
    assert "42 failures of 4 kinds in 2.00 s, 3 left out" in lines
    expected = {"allow": frozenset(), "deny": frozenset(), "unhandled": False, "n_arguments": 0}
    assert {name: asked[0][name] for name in expected} == expected


def test_each_as_text(asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["errors", "tcp_*", "-d", "0", "--each", "--top", "1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("cp[8]: ENOSPC from tcp_recvmsg(inode=0x1, size=5), returned by tcp_sendmsg as EIO\n")
    assert "… and 3 groups more" in out
    assert asked[0]["n_arguments"] == 6


def test_json(asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--each", "--allow", "ENOSPC,eio", "--allow", "NULL", "--deny", "ENOENT", "--unhandled"]
    assert run(["errors", "tcp_*", "-d", "0", "--json", *arguments]) == 0
    *found, report = map(json.loads, capsys.readouterr().out.splitlines())
    assert [item["type"] for item in found] == ["failure"] * 4 + ["group"] * 4
    assert found[0]["arguments"] == {"inode": "0x1", "size": 5}
    assert found[4] == {
        "type": "group", "count": 12, "error": "ENOSPC", "first": "tcp_recvmsg",
        "path": ["tcp_sendmsg", "?", "tcp_recvmsg"], "is_cut": True, "outcome": "returned", "end": "tcp_sendmsg",
        "end_error": "EIO",
    }  # fmt: skip
    assert [item["outcome"] for item in found[4:]] == ["returned", "returned", "handled", "unknown"]
    assert (report["failures"], report["left_out"], report["untyped"]) == (42, 3, 2)
    assert asked[0]["allow"] == {"ENOSPC", "EIO", "NULL"}
    assert asked[0]["deny"] == {"ENOENT"}
    assert asked[0]["unhandled"] is True


def test_errors_that_do_not_exist(asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["errors", "tcp_*", "-d", "0", "--deny", "ENONSENSE"]) == 2
    assert "ENONSENSE" in capsys.readouterr().err
    assert not asked


def test_groups_as_csv(asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["errors", "tcp_*", "-d", "0", "--csv"]) == 0
    out, err = capsys.readouterr()
    rows = list(csv.DictReader(out.splitlines()))
    assert [int(row["count"]) for row in rows] == [12 - place for place in range(len(FAILURES))]
    assert "attached" in err


def test_each_as_csv(asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["errors", "tcp_*", "-d", "0", "--csv", "--each"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [int(row["tid"]) for row in rows] == [failure.tid for failure in FAILURES]
    assert json.loads(rows[0]["arguments"])["size"] == 5


def test_the_screen_shows_each_group_and_what_is_known_of_one(world: FakeWorld) -> None:
    measurement = ErrorsMeasurement(ErrorsOptions(patterns=("tcp_*",), live=True))
    measurement.instrument = FakeWatching(world.functions, world.attach(None, world.functions).report, None)  # type: ignore[assignment]
    screen = measurement.screen()
    sample = measurement.instrument.sample()
    frame = screen.frame(sample, None)
    assert frame.title == f"{len(world.functions)} functions attached, 42 failures, 2 s"
    assert [row.cells[:3] for row in frame.rows[:2]] == [("12", "ENOSPC", "tcp_recvmsg"), ("11", "NULL", "tcp_recvmsg")]
    assert [row.order[0] for row in frame.rows] == [12, 11, 10, 9]
    assert {row.function for row in frame.rows} == {1}, "callers are those of the first to fail"
    assert len({row.key for row in frame.rows}) == 4
    assert [row.key for row in screen.frame(sample, sample).rows] == [row.key for row in frame.rows]
    assert "ENOSPC" in frame.rows[0].text
    assert "tcp_sendmsg > ?" in frame.rows[0].text
    assert frame.details(frame.rows[0].key) == [
        "tcp_recvmsg",
        "",
        "12 times ENOSPC, returned by tcp_sendmsg as EIO",
        "",
        "…",
        "  tcp_sendmsg",
        "    ?",
        "      tcp_recvmsg",
        "",
        "the first one:",
        "cp[8]: tcp_recvmsg(inode=0x1, size=5)",
    ]


def test_each_and_live_both_want_the_terminal(
    asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("multiprobe.cli.live.check", lambda *, is_text: None)
    assert run(["errors", "tcp_*", "-d", "0", "--each", "--live"]) == 2
    assert "exclude each other" in capsys.readouterr().err
    assert not asked


@pytest.mark.parametrize(("words", "n_rows"), [([], 4), (["--each"], 4)])
def test_html(
    asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str], n_rows: int
) -> None:
    file = tmp_path / "errors.html"
    assert run(["errors", "tcp_*", "-d", "0", "--html", str(file), *words]) == 0
    _, _, body = file.read_text(encoding="utf-8").partition("<tbody>")
    rows = body.partition("</tbody>")[0]
    assert rows.count("<tr>") == n_rows
    assert "ENOSPC" in rows


@pytest.mark.parametrize("how", [["--each"], []])
def test_a_saved_run_has_all_that_json_prints(
    asked: list[dict[str, Any]], how: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["errors", "tcp_*", "-d", "0", "--allow", "EIO,ENOSPC", *how, "--save", str(tmp_path / "run")]
    assert run([*line, "--json"]) == 0
    *rows, report = map(json.loads, capsys.readouterr().out.splitlines())
    saved = mp.Run.load(tmp_path / "run")
    assert saved.rows == rows
    assert saved.figures == report
    assert saved.settings["allow"] == ["EIO", "ENOSPC"]
    assert run([*line, "--top", "1"]) == 0
    assert mp.Run.load(tmp_path / "run").rows == rows

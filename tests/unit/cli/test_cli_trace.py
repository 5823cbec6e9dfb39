"""`multiprobe trace` over fakes: calls go in, text, JSON and CSV come out."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import pytest

import multiprobe as mp
from multiprobe.cli.main import run
from multiprobe.instruments.trace import instrument as trace
from multiprobe.instruments.trace.instrument import TracedCall

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import FakeWorld


def call(n: int, function: Any) -> TracedCall:
    return TracedCall(
        time=n, cpu=1, pid=7, tid=8, comm="sh", function=function, arguments=(("mode", n), ("name", '"a,b"')),
        returned="-ENOENT", raw=-2, duration=1500, begin=1_000_000 * n,
    )  # fmt: skip


class FakeTracing:
    """Has two calls while it runs, and one more at its end."""

    seconds = 1.0

    def __init__(self, functions: Any, report: Any) -> None:
        self.functions, self.report = functions, report

    def sample(self) -> list[TracedCall]:
        return [call(n, self.functions[0]) for n in (1, 2)]

    def poll(self) -> bool:
        return False

    def finish(self) -> list[TracedCall]:
        return [call(3, self.functions[0])]

    def close(self) -> None:
        pass

    def __enter__(self) -> FakeTracing:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def tracing(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace whose calls are known."""

    def start(functions: Any, *, wanted: Any, has_stacks: bool, **_: Any) -> FakeTracing:
        assert (wanted.only, wanted.depth, has_stacks) in ((None, None, False), (("mode",), 1, True))
        return FakeTracing(functions, world.attach(None, functions).report)

    monkeypatch.setattr(trace, "start", start)


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trace", "do_*", "-d", "0", "--args", "mode", "--depth", "1", "--stack"]) == 0
    lines = capsys.readouterr().out.splitlines()
    head = f"    3.000000    1        8  {'sh':15}  "
    assert lines[1] == f'{head}tcp_sendmsg(mode=3, name="a,b") = -2 (ENOENT)  [1.50 µs]'
    assert "1 call" in lines


def test_json_has_each_call_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trace", "do_*", "--max-events", "3", "--json"]) == 0
    *calls, report = map(json.loads, capsys.readouterr().out.splitlines())
    assert [found["arguments"]["mode"] for found in calls] == [1, 2, 1]
    assert report["calls"] == 3


def test_csv(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trace", "do_*", "--max-events", "1", "--csv"]) == 0
    out, err = capsys.readouterr()
    (row,) = csv.DictReader(out.splitlines())
    assert (row["function"], row["returned"], row["duration"]) == ("tcp_sendmsg", "-ENOENT", "1500")
    assert json.loads(row["arguments"]) == {"mode": 1, "name": '"a,b"'}
    assert "attached" in err


def test_html(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "calls.html"
    assert run(["trace", "do_*", "--max-events", "1", "--html", str(file)]) == 0
    assert "tcp_sendmsg" in capsys.readouterr().out
    text = file.read_text(encoding="utf-8")
    assert text.count("<td>tcp_sendmsg</td>") == 1
    assert '<td class="number" data-value="1500">1.50 µs</td>' in text
    assert "mode=1" in text


def test_a_saved_run_has_all_calls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trace", "tcp_*", "-d", "0.15", "--json", "--save", str(tmp_path / "run")]) == 0
    *rows, _report = map(json.loads, capsys.readouterr().out.splitlines())
    saved = mp.Run.load(tmp_path / "run")
    assert len(rows) >= 3
    assert saved.rows == rows

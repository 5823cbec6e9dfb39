"""`multiprobe latency` over a fake instrument: what is asked of it, and what is printed."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from multiprobe.cli.main import run
from multiprobe.instruments.latency import instrument as latency
from multiprobe.instruments.latency.instrument import Latency, LatencySample

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import FakeWorld


class FakeTiming:
    def __init__(self, functions: Any, report: Any, *, by: str | None, has_self: bool) -> None:
        self.report = report
        own = (lambda n: n) if has_self else (lambda n: None)
        who = os.getpid() if by else 0
        self._sample = LatencySample(
            1.5,
            [
                Latency(functions[0], who, 3, 0, 3_000, own(500), 1_600, (0,) * 10 + (2, 1)),
                Latency(functions[1], who, 1, 2, 9_000_000, own(9_000_000), 9_000_000, (0,) * 24 + (1,)),
            ],
        )

    def sample(self) -> LatencySample:
        return self._sample

    finish = sample

    def poll(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def __enter__(self) -> FakeTiming:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def asked(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The options of each start."""
    found: list[dict[str, Any]] = []

    def start(functions: Any, *, by: str | None, has_self: bool, **options: Any) -> FakeTiming:
        found.append({"by": by, "has_self": has_self, **options})
        report = world.attach(None, functions, **options).report
        return FakeTiming(functions, report, by=by, has_self=has_self)

    monkeypatch.setattr(latency, "start", start)
    return found


def test_text(asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["latency", "tcp_*", "-d", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:7] == ["CALLS", "TOTAL", "MEAN", "P50", "P90", "P99", "MAX"]
    assert lines[1].split()[:3] == ["1", "9.00", "ms"]
    assert lines[1].split()[-1] == "tcp_recvmsg"
    assert lines[2].split()[-1] == "tcp_sendmsg"
    assert "4 calls of 2 functions in 1.50 s" in lines
    assert "2 calls more were not seen to return: tcp_recvmsg 2" in lines
    assert "when" not in asked[0]


def test_json(asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["latency", "tcp_*", "-d", "0", "--json", "--self", "--by", "process", "--sort", "calls"]) == 0
    first, second, report = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["function"] == "tcp_sendmsg"
    assert (first["calls"], first["total_ns"], first["self_ns"], first["mean_ns"]) == (3, 3000, 500, 1000.0)
    assert first["histogram"] == [[512, 1024, 2], [1024, 2048, 1]]
    assert first["pid"] == os.getpid()
    assert first["name"]
    assert second["running"] == 2
    assert (report["calls"], report["running"], report["total_ns"]) == (4, 2, 9_003_000)
    assert (asked[0]["by"], asked[0]["has_self"]) == ("process", True)


def test_top(asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["latency", "tcp_*", "-d", "0", "--top", "1"]) == 0
    out = capsys.readouterr().out
    assert "tcp_sendmsg" not in out
    assert "… and 1 more" in out


def test_heat_map(asked: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "heat.svg"
    assert run(["latency", "tcp_*", "-d", "0", "--heatmap", str(file)]) == 0
    assert "how long calls took, by when they returned" in file.read_text()


def test_results_are_printed_though_a_file_cannot_be_written(
    asked: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "heat.svg"
    file.symlink_to("/dev/full")
    assert run(["latency", "tcp_*", "-d", "0", "--heatmap", str(file)]) == 1
    printed = capsys.readouterr()
    assert "4 calls of 2 functions in 1.50 s" in printed.out
    assert "No space left on device" in printed.err


@pytest.mark.parametrize("words", [["--by", "cpu"], ["--sort", "speed"], ["--sort", "self"]])
def test_invalid_options(asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert run(["latency", "tcp_*", "-d", "0", *words]) == 2
    assert not asked


def test_html(asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "times.html"
    assert run(["latency", "tcp_*", "-d", "0", "--html", str(file)]) == 0
    text = file.read_text(encoding="utf-8")
    assert text.count('<object type="image/svg+xml"') == 1
    assert '<td class="number" data-value="9000000">9.00 ms</td>' in text
    assert "attached " in text

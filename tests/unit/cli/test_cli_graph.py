"""`multiprobe graph` over fakes: recorded calls go in, text, JSON, traces and pictures come out."""

from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import multiprobe as mp
from multiprobe.cli.main import run
from multiprobe.instruments.graph.program import IDLE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .conftest import FakeWorld

ME = os.getpid() << 32 | os.getpid()
CALLS = [
    (1_000_000, 1_900_000, ME, 0),
    (1_100_000, 1_200_000, ME, 1),
    (2_000_000, 0, ME, 1),
    (1_500_000, 1_500_040, IDLE | 1, 2),
]
NAMES = ["sh", "worker", "worker", "swapper/1"]


class FakeMap:
    def __init__(self, content: Any, dtype: Any = np.uint64) -> None:
        self._content = np.array(content, dtype)

    def totals(self) -> list[int]:
        return self._content.tolist()

    def rows(self, first: int, stop: int) -> NDArray[np.uint64]:
        return self._content[first:stop]


@pytest.fixture
def graphing(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> FakeWorld:
    """A world in which an attachment has recorded CALLS."""

    def attach(program: Any, functions: Any, **options: Any) -> Any:
        attachment = world.attach(program, functions, **options)
        attachment.missed = lambda: {"link_misses": 0, "full_maps": 0}
        names = np.array(NAMES, "S16").view(np.uint64).reshape(-1, 2)
        contents = {"n_calls": FakeMap([len(CALLS)]), "calls": FakeMap(CALLS), "names": FakeMap(names)}
        maps = {spec: name for name, spec in program.maps.items()}
        attachment.map = lambda spec: contents[maps[spec]]
        return attachment

    monkeypatch.setattr(mp, "attach", attach, raising=False)
    return world


def test_text(graphing: FakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["graph", "tcp_*", "-d", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    at = lines.index(f"worker, thread {os.getpid()}")
    assert lines[at + 2 : at + 5] == [
        "       0.000     900 µs  tcp_sendmsg",
        "       0.100     100 µs  └─ tcp_recvmsg",
        "       1.000          ?  tcp_recvmsg",
    ]
    assert "swapper/1, CPU 1" in lines
    assert "       0.500      40 ns  tcp_diag_dump [tcp_diag]" in lines
    assert any(re.fullmatch(r"4 calls in 2 threads, in \S+ s, 1 of which had not ended", line) for line in lines)
    assert "missed: nothing known" in lines


def test_json(graphing: FakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["graph", "tcp_*", "-d", "0", "--json"]) == 0
    *calls, report = map(json.loads, capsys.readouterr().out.splitlines())
    assert [(c["function"], c["id"], c["caller"], c["duration"]) for c in calls] == [
        ("tcp_sendmsg", 0, None, 900_000),
        ("tcp_recvmsg", 1, 0, 100_000),
        ("tcp_recvmsg", 2, None, None),
        ("tcp_diag_dump", 3, None, 40),
    ]
    assert [(c["process"], c["thread"], c["name"]) for c in calls][-1] == (0, 0, "swapper/1")
    assert calls[3]["module"] == "tcp_diag"
    assert (report["calls"], report["unended"], report["threads"]) == (4, 1, 2)


def test_csv(graphing: FakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["graph", "tcp_*", "-d", "0", "--csv"]) == 0
    out, err = capsys.readouterr()
    rows = list(csv.DictReader(out.splitlines()))
    assert [(row["function"], row["caller"]) for row in rows[:3]] == [
        ("tcp_sendmsg", ""), ("tcp_recvmsg", "0"), ("tcp_recvmsg", ""),
    ]  # fmt: skip
    assert "missed: nothing known" in err


def test_folded(graphing: FakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["graph", "tcp_*", "-d", "0", "--folded"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert all(line.rpartition(" ")[2].isdigit() for line in lines)
    assert "missed: nothing known" in err  # the report isn't lost
    assert "swapper/1;tcp_diag_dump [tcp_diag] 40" in lines
    assert "worker;tcp_sendmsg 800000" in lines
    assert "worker;tcp_sendmsg;tcp_recvmsg 100000" in lines


def test_files(graphing: FakeWorld, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    trace, flame = tmp_path / "trace", tmp_path / "flame.svg"
    assert run(["graph", "tcp_*", "-d", "0", "--perfetto", str(trace), "--flame", str(flame)]) == 0
    assert b"tcp_sendmsg" in trace.read_bytes()
    assert "Time in tcp_*" in flame.read_text()


def test_what_is_asked_of_attach(graphing: FakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["graph", "a", "-d", "0", "--pid", str(os.getpid())]) == 0
    options = graphing.attachments[0].options
    assert (options["pid"], graphing.attachments[0].program.when) == (os.getpid(), "session")
    assert graphing.attachments[0].events[-1] == "close"


@pytest.mark.parametrize(
    "words", [["--max-events", "0"], ["--max-events", "99999999999"], ["--json", "--folded"], ["--csv", "--folded"]]
)
def test_invalid_options(graphing: FakeWorld, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert run(["graph", "a", *words]) == 2
    assert graphing.attachments == []


def test_a_file_that_cannot_be_written(graphing: FakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
    """Reported before anything is measured."""
    assert run(["graph", "a", "-d", "0", "--flame", "/no/such/place.svg"]) == 2
    assert "/no/such/place.svg" in capsys.readouterr().err
    assert graphing.attachments == []


def test_html(graphing: FakeWorld, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "calls.html"
    assert run(["graph", "tcp_*", "-d", "0", "--html", str(file)]) == 0
    text = file.read_text(encoding="utf-8")
    assert text.count('<object class="fluid" type="image/svg+xml"') == 1
    assert text.count("<td>tcp_recvmsg</td>") == 2
    assert "attached 3 of 5 functions" in text

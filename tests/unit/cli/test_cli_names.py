"""Nasty names of processes through commands: every form of output is harmless, also on streams that are ASCII."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from multiprobe.cli.main import run
from multiprobe.instruments.trace import instrument as trace
from multiprobe.instruments.trace.instrument import TracedCall
from multiprobe.names import decode_name
from nasty_names import NASTY, assert_harmless

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import FakeWorld

NAMES = [decode_name(raw) for raw, _ in NASTY]
SPELLED = [spelled for _, spelled in NASTY]


class FakeTracing:
    """One call of a process of each name, by a file of that name."""

    def __init__(self, functions: Any, report: Any) -> None:
        self.functions, self.report = functions, report

    def sample(self) -> list[TracedCall]:
        return []

    def poll(self) -> bool:
        return False

    def finish(self) -> list[TracedCall]:
        return [
            TracedCall(1.0, 1, 0, 7, 8, name, self.functions[0], (("n", 3),), {"file": {"name": name}}, stack=(name,))
            for name in NAMES
        ]

    def close(self) -> None:
        pass

    def __enter__(self) -> FakeTracing:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def tracing(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        trace, "start", lambda functions, **_: FakeTracing(functions, world.attach(None, functions).report)
    )


@pytest.fixture(params=["utf-8", "ascii", "iso8859-1"])
def trace_on(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., bytes]:
    """What `trace` writes to a standard output with a strict encoding, as in that locale."""

    def run_trace(*options: str) -> bytes:
        raw = io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=request.param, errors="strict"))
            assert run(["trace", "tcp_*", "-d", "0", *options]) == 0
            return raw.getvalue()

    return run_trace


def test_text(trace_on: Callable[..., bytes]) -> None:
    text = trace_on().decode("latin-1")
    assert all(letter.isprintable() or letter == "\n" or letter >= "\x80" for letter in text)
    assert len(text.splitlines()[1:-9]) >= 2 * len(NAMES)
    for spelled in SPELLED:
        if spelled.isascii():
            assert f"        8  {spelled:15}  tcp_sendmsg(" in text


def test_json(trace_on: Callable[..., bytes]) -> None:
    calls = [json.loads(line) for line in assert_harmless(trace_on("--json")).splitlines()][:-1]
    assert [call["name"] for call in calls if call["name"].isprintable()][:2] == SPELLED[:2]
    assert [call["name"] for call in calls] == [call["stack"][0] for call in calls]


def test_csv(trace_on: Callable[..., bytes]) -> None:
    rows = list(csv.DictReader(io.StringIO(assert_harmless(trace_on("--csv")), newline="")))
    assert [row["name"].replace("\n", r"\n") for row in rows] == SPELLED
    assert [json.loads(row["stack"])[0] for row in rows][2] == "a\rb"


@pytest.mark.parametrize("name", NAMES)
def test_a_message_quotes_the_name_that_it_was_given(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["count", "x", "--duration", name]) == 2
    assert_harmless(capsys.readouterr().err.encode())


def test_messages_of_a_real_process_are_harmless() -> None:
    arguments = [sys.executable, "-m", "multiprobe", "functions", "--why", b"\xff\x1b[31m"]
    done = subprocess.run(arguments, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "ascii:strict"})
    assert done.returncode != 0
    assert b"internal error" not in done.stderr
    assert_harmless(done.stderr)


def test_files_are_written_in_utf8(tmp_path: Path) -> None:
    file = tmp_path / "out"
    assert run(["trace", "tcp_*", "-d", "0", "-o", str(file)]) == 0
    text = assert_harmless(file.read_bytes())
    assert all(spelled in text for spelled in SPELLED)

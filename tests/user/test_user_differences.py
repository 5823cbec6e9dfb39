"""Runs of a program compared: what was planted is found and nothing else, and functions that have run are let go."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import multiprobe as mp
from multiprobe.cli.main import run as command
from multiprobe.instruments.coverage.instrument import start
from places import IS_GUEST
from polling import poll_until

BREAKPOINT = b"\xcc"
FAST, SLOW = 100, 50_000


@pytest.fixture
def program(compiled: Callable[..., Path], tmp_path: Path) -> Path:
    return compiled("rounds.c", tmp_path / "rounds", "-fno-inline", "-fno-ipa-cp", "-fno-pie", "-no-pie")


def save(program: Path, name: str, measured: str, *, rounds: int = 40, pause: int = 0, fails: bool = False) -> Path:
    """Save a run of the program."""
    path = program.with_name(name)
    patterns = [f"{program}:{function}" for function in ("compute", "compute_more", "answer", "try_it")]
    words = [measured, *patterns, "--command-only", "--save", str(path), "--output", str(program.with_name("out"))]
    assert command([*words, "--", str(program), str(rounds), str(pause), str(int(fails))]) == 0
    return path


@pytest.mark.once("7.3")
def test_ten_pairs_of_equal_runs_give_no_claim(program: Path) -> None:
    claims = []
    for pair in range(10):
        paths = [save(program, f"{pair}-{n}", "count", rounds=1000) for n in range(4)]
        found = mp.diff(paths[::2], paths[1::2])
        assert {row["change"] for row in found.rows} == {"same"}
        claims += list(found.claims)
    assert claims == []


@pytest.mark.skipif(IS_GUEST, reason="after a sleep, an emulated processor is slower in all that it does: a true claim")
@pytest.mark.usefixtures("sessions")
def test_a_sleep_is_found_and_nothing_else(program: Path) -> None:
    pauses = {"before": FAST, "after": SLOW}
    runs = [
        {side: save(program, f"{side}{n}", "latency", pause=pause) for side, pause in pauses.items()} for n in range(3)
    ]
    found = mp.diff([run["before"] for run in runs], [run["after"] for run in runs], least=1.0)
    assert {(row["function"], row["change"]) for row in found.claims} == {("answer", "slower")}


@pytest.mark.usefixtures("sessions")
def test_an_error_is_found_and_nothing_else(program: Path) -> None:
    runs = [
        {fails: save(program, f"{fails}{n}", "errors", fails=fails, rounds=100) for fails in (False, True)}
        for n in range(2)
    ]
    found = mp.diff([run[False] for run in runs], [run[True] for run in runs])
    assert [(row["change"], row["error"], row["after"]) for row in found.claims] == [("new", "-18", 100)]


@pytest.fixture
def running(program: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([program, "0", "1", "0"])
    yield process
    process.kill()
    process.wait()


def test_functions_that_have_run_are_let_go(program: Path, running: subprocess.Popen[bytes]) -> None:
    functions = {function.name: function for function in mp.Binary(program).functions("compute", "never")}

    def first_byte(name: str) -> bytes:
        with open(f"/proc/{running.pid}/mem", "rb") as memory:
            memory.seek(functions[name].address)
            return memory.read(1)

    before = first_byte("compute")
    assert before != BREAKPOINT
    chosen = mp.Binary(program).functions("compute", "never")
    with start(chosen, pid=running.pid) as collector:
        assert (first_byte("compute"), first_byte("never")) == (BREAKPOINT, BREAKPOINT)
        poll_until(collector.poll, lambda: first_byte("compute") != BREAKPOINT)
        assert (first_byte("compute"), first_byte("never")) == (before, BREAKPOINT)
        collector.end_run()
        collector.begin_run()
        assert first_byte("compute") == BREAKPOINT
        poll_until(collector.poll, lambda: [one.n_runs for one in collector.sample().covered] == [2])
        found = collector.finish()
    assert [(one.function.name, one.n_runs) for one in found.covered] == [("compute", 2)]
    assert collector.report.dropped == ()

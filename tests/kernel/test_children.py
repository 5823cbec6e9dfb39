"""A measured process is measured with its children: workloads of known size, spread over processes of every origin."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import forked
import multiprobe as mp
from multiprobe.instruments.count import calls, count

NAME = "__x64_sys_kill"
N = 20
WORK = f"work() {{ i=0; while [ $i -lt {N} ]; do kill -0 $$; i=$((i+1)); done; }}; "
FAN = WORK + "for n in 1 2 3 4 5; do work & done; wait; work"
N_FAN = 6
DAEMON = WORK + "mkfifo ready; ( ( sleep 0.3; work; echo > ready ) & ); read x < ready"
N_DAEMON = 5  # with mkfifo, sleep, and the one in between
THREADS = f"""
import os, threading
def work():
    for _ in range({N}):
        os.kill(os.getpid(), 0)
def work_twice():
    work()
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    os.waitpid(child, 0)
threads = [threading.Thread(target=work_twice) for _ in range(3)]
for one in threads: one.start()
for one in threads: one.join()
threading.Thread(target=os.execv, args=("/bin/sh", ["sh", "-c", {WORK + "work & wait; work"!r}])).start()
threading.Event().wait()
"""


def measured(*arguments: str, **options: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The results, and the report."""
    ended = forked.run([*arguments], **options)
    assert ended.returncode == 0, ended.stderr
    *found, report = map(json.loads, ended.stdout.splitlines())
    assert not [note for note in report["notes"] if "children" in note]
    assert not report["missed"].get("unfollowed_children")
    return found, report


def count_calls(found: list[dict[str, Any]]) -> int:
    """Calls, counted or one by one."""
    return sum(one.get("calls", 1) for one in found if one["type"] in ("function", "call"))


@pytest.mark.parametrize("command", ["count", "trace", "latency"])
def test_every_process_that_a_shell_forks(command: str) -> None:
    """Kprobes are not preempted: no call is missed."""
    words = (command, NAME, "--mechanism", "kprobe", "--command-only", "--json", "--", "sh", "-c", FAN)
    found, report = measured(*words)
    assert not report["missing"]
    assert (count_calls(found), report["processes"]) == (N_FAN * N, N_FAN)
    if command == "trace":
        by_process = [[one["process"] for one in found].count(pid) for pid in {one["process"] for one in found}]
        assert by_process == [N] * N_FAN


@pytest.mark.parametrize("chosen", [(), ("--mechanism", "trampoline")], ids=["cheapest", "trampoline"])
def test_by_other_mechanisms(chosen: tuple[str, ...]) -> None:
    """A trampoline's program may be preempted; the calls that others make meanwhile are missed, and reported."""
    found, report = measured("count", NAME, *chosen, "--command-only", "--json", "--", "sh", "-c", FAN)
    n_missed = report["missed"]["recursion_misses"] + report["missed"]["link_misses"]
    assert N_FAN * N - n_missed <= count_calls(found) <= N_FAN * N
    assert report["processes"] == N_FAN


def test_the_process_alone() -> None:
    words = ("count", NAME, "--mechanism", "kprobe", "--command-only", "--no-children", "--json", "--", "sh", "-c", FAN)
    found, report = measured(*words)
    assert (count_calls(found), report["processes"]) == (N, None)


@pytest.mark.once("7.3")
def test_a_daemon_whose_parent_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found, report = measured(
        "count", NAME, "--mechanism", "kprobe", "--command-only", "--json", "--", "sh", "-c", DAEMON
    )
    assert (count_calls(found), report["processes"]) == (N, N_DAEMON)


@pytest.mark.once("6.12")
def test_threads_that_fork_and_execute() -> None:
    words = (
        "count",
        NAME,
        "--mechanism",
        "kprobe",
        "--command-only",
        "--json",
        "--",
        sys.executable,
        "-W",
        "ignore",
        "-c",
        THREADS,
    )
    found, report = measured(*words)
    assert (count_calls(found), report["processes"]) == (3 * 2 * N + 2 * N, 1 + 3 + 1)


def test_children_that_are_there_already(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        os.mkfifo(tmp_path / name)
    script = WORK + "( ( read x < a; work ) & read x < b; work; wait ) & read x < c; work; wait"
    with subprocess.Popen(["sh", "-c", script], cwd=tmp_path) as process:
        until = time.monotonic() + 30
        while len(descendants(process.pid)) < 2 and time.monotonic() < until:
            time.sleep(0.1)
        with mp.attach(count, [NAME], pid=process.pid, mechanisms="kprobe") as attachment:
            os.kill(os.getpid(), 0)
            for name in ("a", "b", "c"):
                (tmp_path / name).write_text("go\n")
            assert process.wait() == 0
            assert list(attachment.totals(calls)) == [3 * N]
            assert attachment.report.processes == 3
    assert not attachment.report.gaps


def descendants(pid: int) -> list[int]:
    """The descendants of a process, as `ps` finds them."""
    found = []
    for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += [int(one), *descendants(int(one))]
    return found


def test_what_outlives_the_command_does_not_hold_the_measurement(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = f"{WORK} sleep 600 > /dev/null 2>&1 & echo $! > {pid}; work"
    began = time.monotonic()
    try:
        found, report = measured(
            "count", NAME, "--mechanism", "kprobe", "--command-only", "--json", "--", "sh", "-c", script
        )
        assert (count_calls(found), report["processes"]) == (N, 2)
        assert time.monotonic() - began < 300
        os.kill(int(pid.read_text()), 0)  # it is left alone
    finally:
        os.kill(int(pid.read_text()), 9)


@pytest.mark.once("6.1")
def test_in_a_pid_namespace() -> None:
    """Also a child that goes into one of its own."""
    assert shutil.which("unshare")
    script = FAN + "; unshare --pid --fork sh -c '" + WORK + "work'"
    words = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-m", "multiprobe", "count", NAME]
    ended = subprocess.run(
        [*words, "--mechanism", "kprobe", "--command-only", "--json", "--", "sh", "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    *found, report = map(json.loads, ended.stdout.splitlines())
    assert (count_calls(found), report["processes"]) == ((N_FAN + 1) * N, N_FAN + 2)

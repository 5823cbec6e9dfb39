"""`multiprobe latency` against calls whose number is known, and whose durations the caller measured itself."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import forked
import multiprobe as mp
from multiprobe.instruments.latency.program import LatencyProbe

LATENCY = ["latency", "--json"]
MS = 1_000_000
SLEEP = "__x64_sys_clock_nanosleep"
CHAIN = (SLEEP, "common_nsleep", "hrtimer_nanosleep", "do_nanosleep")
#: Sleeps N times and prints how long that took by its own clock. Not by time.sleep(), which says when to end: on a busy
#: machine a part of that has passed before it sleeps.
SLEEPS = """
import ctypes, time
sleep = ctypes.CDLL(None).usleep
t = time.monotonic_ns()
for _ in range({n}): sleep(int({s} * 1e6))
print(time.monotonic_ns() - t)
"""


def measure(*arguments: str) -> tuple[list[dict[str, Any]], dict[str, Any], str]:
    """One object per function, the report, and standard error, to which the command's output goes then."""
    ended = forked.run([*LATENCY, *arguments])
    assert ended.returncode == 0, ended.stderr
    *objects, report = map(json.loads, ended.stdout.splitlines())
    return objects, report, ended.stderr


def by_name(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["function"]: row for row in rows}


def buckets_agree(row: dict[str, Any]) -> bool:
    """Whether a row's numbers fit its histogram."""
    low = sum(n * bucket_low for bucket_low, _, n in row["histogram"])
    high = sum(n * bucket_high for _, bucket_high, n in row["histogram"])
    last_low, last_high, _ = row["histogram"][-1]
    return (
        sum(n for *_, n in row["histogram"]) == row["calls"]
        and low <= row["total_ns"] < high
        and last_low <= row["max_ns"] < last_high
        and row["p50_ns"] <= row["p90_ns"] <= row["p99_ns"] <= row["max_ns"]
    )


def test_known_sleeps_take_what_the_sleeper_measured() -> None:
    n, seconds = 7, 0.05
    command = [sys.executable, "-c", SLEEPS.format(n=n, s=seconds)]
    rows, report, printed = measure(SLEEP, "--command-only", "--", *command)
    (row,) = rows
    assert row["calls"] == n
    assert row["running"] == 0
    assert (
        n * seconds * 1000 * MS <= row["total_ns"] <= int(next(line for line in printed.splitlines() if line.isdigit()))
    )
    assert row["max_ns"] >= seconds * 1000 * MS
    assert buckets_agree(row)
    assert report["calls"] == n
    assert report["total_ns"] == row["total_ns"]
    assert not any(report["missed"].values())


def test_self_times_add_up_to_the_time_of_the_outermost_calls() -> None:
    n = 5
    command = [sys.executable, "-c", SLEEPS.format(n=n, s=0.02)]
    rows, report, _ = measure(*CHAIN, "--self", "--command-only", "--", *command)
    found = by_name(rows)
    assert report["attached"] >= 3
    assert {row["calls"] for row in rows} == {n}
    assert all(map(buckets_agree, rows))
    assert sum(row["self_ns"] for row in rows) == found[SLEEP]["total_ns"]
    assert found["do_nanosleep"]["self_ns"] > report["total_ns"] // len(rows) // 2  # it is there that the time goes
    assert found["do_nanosleep"]["total_ns"] <= found["hrtimer_nanosleep"]["total_ns"] <= found[SLEEP]["total_ns"]
    assert report["missed"]["self_times"] == 0


def test_a_read_takes_until_the_writer_writes() -> None:
    code = """
import os, time
out, into = os.pipe()
if os.fork() == 0:
    for _ in range(4):
        time.sleep(0.1)
        os.write(into, b"x")
    os._exit(0)
for _ in range(4): os.read(out, 1)
"""
    rows, _, _ = measure("pipe_read", "anon_pipe_read", "--command-only", "--", sys.executable, "-c", code)
    (row,) = rows
    assert row["calls"] == 4
    assert row["total_ns"] >= 250 * MS
    assert buckets_agree(row)


def test_processes_that_sleep_at_the_same_time_are_told_apart() -> None:
    code = f"""
import os, time
for n in (2, 3):
    if os.fork() == 0:
        for _ in range(n): time.sleep(0.1)
        os._exit(0)
{SLEEPS.format(n=4, s=0.1)}
for _ in range(2): os.wait()
"""
    for by, name in (("process", "pid"), ("thread", "tid")):
        rows, report, _ = measure(SLEEP, "--by", by, "--", sys.executable, "-c", code)
        counts = {row[name]: row["calls"] for row in rows}
        # A program that is preempted on 7.3 keeps others of that CPU from running, which is counted.
        missed = sum(report["missed"].values())
        assert 4 - missed <= counts[report["command"]["pid"]] <= 4
        assert sum(counts.values()) >= 9 - missed
        assert missed or {2, 3} <= set(counts.values())
        for row in rows:
            if row["calls"]:
                assert buckets_agree(row)


def test_calls_that_never_return_are_told() -> None:
    rows, report, _ = measure(
        "__x64_sys_exit_group", SLEEP, "--command-only", "--", sys.executable, "-c", SLEEPS.format(n=2, s=0.001)
    )
    found = by_name(rows)
    assert found["__x64_sys_exit_group"]["calls"] == 0
    assert found["__x64_sys_exit_group"]["running"] == 1
    assert found[SLEEP]["calls"] == 2
    assert report["running"] == 1


@pytest.fixture
def overlay(tmp_path: Path) -> Iterator[Path]:
    """A file system stacked on another one."""
    subprocess.run(["modprobe", "overlay"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "lower", str(tmp_path)], check=True)
    for name in ("low", "up", "work", "all"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={tmp_path}/low,upperdir={tmp_path}/up,workdir={tmp_path}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, f"{tmp_path}/all"], check=True)
    yield tmp_path / "all"
    subprocess.run(["umount", f"{tmp_path}/all"], check=True)
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_recursion_through_stacked_file_systems_is_exact(overlay: Path) -> None:
    """vfs_mkdir of an overlay calls vfs_mkdir of the file system below."""
    n = 5
    code = f"import os\nfor n in range({n}): os.mkdir('{overlay}/' + str(n))"
    (row,), report, _ = measure("vfs_mkdir", "--self", "--command-only", "--", sys.executable, "-c", code)
    assert (row["calls"], row["running"]) == (2 * n, 0)
    assert buckets_agree(row)
    assert row["self_ns"] < row["total_ns"], "what the inner calls took is in the outer ones' total as well"
    assert report["missed"]["self_times"] == 0


@pytest.mark.parametrize("arguments", [["--by", "cpu"], ["--sort", "speed"], ["--sort", "self"]])
def test_words_that_mean_nothing(arguments: list[str]) -> None:
    ended = forked.run([*LATENCY, SLEEP, "-d", "0", *arguments])
    assert ended.returncode == 2


@pytest.mark.once("6.1")
def test_heat_map(tmp_path: Any) -> None:
    file = tmp_path / "heat.svg"
    command = [sys.executable, "-c", SLEEPS.format(n=3, s=0.3)]
    measure(SLEEP, "--heatmap", str(file), "--command-only", "--", *command)
    svg = file.read_text()
    assert svg.startswith("<?xml")
    assert "<title>" in svg


@pytest.mark.once("6.12")
def test_a_call_that_began_before_it_was_switched_on_is_not_timed() -> None:
    """Its return is seen, its entry was not: there is nothing to be taken for its beginning."""
    code = "import time, sys; time.sleep(0.2); print(flush=True); sys.stdin.read(1); time.sleep(3)"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    probe = LatencyProbe()
    with mp.attach(probe.program, SLEEP, pid=child.pid) as attachment:
        child.stdout.readline()
        attachment.pause()
        child.stdin.write(b"!")
        child.stdin.flush()
        wait_for_sleep(child.pid)
        attachment.resume()
        child.wait()
        assert sum(attachment.totals(probe.maps.calls)) <= 1
        assert sum(attachment.totals(probe.maps.total)) < 1000 * MS
    child.stdin.close()
    child.stdout.close()


def wait_for_sleep(pid: int) -> None:
    """Wait until a process sleeps in nanosleep."""
    until = time.monotonic() + forked.TIME_LIMIT / 2
    while time.monotonic() < until:
        with open(f"/proc/{pid}/wchan") as file:
            if "nanosleep" in file.read():
                return
        time.sleep(0.05)
    raise TimeoutError("it never slept")

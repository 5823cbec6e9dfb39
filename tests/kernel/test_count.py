"""`multiprobe count` against workloads of known size."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

import forked

N = 1234
CALLS = f"import os\nfor _ in range({N}): os.getppid()"


def count(*arguments: str) -> tuple[dict[str, int], dict[str, Any]]:
    """Calls by function, and the report."""
    ended = forked.run(["count", "--json", *arguments])
    assert ended.returncode == 0, ended.stderr
    *functions, report = map(json.loads, ended.stdout.splitlines())
    assert {item["type"] for item in functions} <= {"function"}
    assert report["type"] == "report"
    return {item["function"]: item["calls"] for item in functions}, report


@pytest.mark.parametrize("extra", [[], ["--return"]], ids=["entry", "return"])
def test_a_known_number_of_calls(extra: list[str]) -> None:
    calls, report = count("__x64_sys_getppid", "--command-only", *extra, "--", sys.executable, "-c", CALLS)
    assert calls == {"__x64_sys_getppid": N}
    assert report["calls"] == N
    assert (report["requested"], report["attached"], report["skipped"], report["failed"]) == (1, 1, [], [])
    assert report["command"]["status"] == 0


@pytest.mark.once("7.3")
def test_the_whole_system_is_counted_while_a_command_runs() -> None:
    noise = subprocess.Popen([sys.executable, "-c", "import os, time\nwhile True: os.getppid(); time.sleep(0.01)"])
    try:
        calls, _ = count("__x64_sys_getppid", "--", sys.executable, "-c", CALLS + "\nimport time; time.sleep(0.3)")
    finally:
        noise.kill()
        noise.wait()
    assert calls["__x64_sys_getppid"] > N


@pytest.mark.once("6.12")
def test_a_process_that_runs_already() -> None:
    code = f"import os, sys\nsys.stdin.read(1)\nfor _ in range({N}): os.getppid()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    counting = forked.Popen(
        ["count", "--json", "__x64_sys_getppid", "__x64_sys_exit_group", "--pid", str(child.pid)],
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_until_attached(counting)
    child.communicate(b"!")
    out, _ = counting.communicate(timeout=forked.TIME_LIMIT)
    *functions, _report = map(json.loads, out.splitlines())
    assert {item["function"]: item["calls"] for item in functions}["__x64_sys_getppid"] == N


@pytest.mark.once("6.1")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_results(number: signal.Signals) -> None:
    counting = forked.Popen(["count", "--json", "__x64_sys_getppid"], stdout=subprocess.PIPE, text=True)
    wait_until_attached(counting)
    for _ in range(N):
        os.getppid()
    counting.send_signal(number)
    out, _ = counting.communicate(timeout=forked.TIME_LIMIT)
    assert counting.returncode == 0
    function, report = map(json.loads, out.splitlines())
    assert function["calls"] >= N
    assert report["attached"] == 1


def test_what_cannot_be_attached_is_named() -> None:
    calls, report = count("__x64_sys_getppid", "no_such_function", "-d", "0")
    assert report["requested"] == 2
    assert [item["function"] for item in report["skipped"]] == ["no_such_function"]
    assert report["attached"] == 1
    assert set(calls) <= {"__x64_sys_getppid"}


def test_nothing_matches() -> None:
    ended = forked.run(["count", "no_such_*", "-d", "0"])
    assert ended.returncode == 3
    assert "no_such_*" in ended.stderr


def wait_until_attached(counting: subprocess.Popen[str]) -> None:
    """Wait until ftrace says that something is traced, and a moment for the program to be switched on."""
    until = time.monotonic() + forked.TIME_LIMIT / 2
    while time.monotonic() < until:
        assert counting.poll() is None
        with open("/sys/kernel/tracing/enabled_functions") as enabled:
            if enabled.read():
                time.sleep(2)
                return
        time.sleep(0.1)
    raise TimeoutError("nothing was attached")

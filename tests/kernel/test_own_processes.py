"""Whole-system measurements leave out multiprobe's own processes, and ids are those of the user's pid namespace."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest

N = 1000
CALLS = f"import os\nfor _ in range({N}): os.getppid()"
MULTIPROBE = [sys.executable, "-m", "multiprobe"]


def run(*words: str, before: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    done = subprocess.run([*before, *MULTIPROBE, *words], stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def calls_of(found: list[dict[str, Any]], name: str) -> int:
    return sum(one["calls"] for one in found if one.get("function") == name)


def test_a_trace_has_none_of_our_own_processes() -> None:
    words = ["trace", "vfs_open", "-o", "/tmp/own.json", "--json", "--", "sh", "-c", "cat /etc/hostname; sleep 0.5"]
    with subprocess.Popen([*MULTIPROBE, *words], stdout=subprocess.DEVNULL) as tracing:
        assert tracing.wait() == 0
    with open("/tmp/own.json") as file:
        *calls, report = map(json.loads, file)
    os.unlink("/tmp/own.json")
    command = report["command"]["pid"]
    assert any(call["process"] == command for call in calls)
    assert not [call for call in calls if call["process"] == tracing.pid]
    others = [call for call in calls if call["process"] != command]  # which is called python until it executes
    assert not [call for call in others if call["name"].startswith(("python", "multiprobe"))], "the watchdog"


def test_they_are_measured_when_they_are_asked_for() -> None:
    found = run("trace", "ksys_write", "--own", "--json", "-d", "1")
    assert any(call["name"].startswith(("python", "multiprobe")) for call in found[:-1])


@pytest.mark.parametrize("chosen", [(), ("--mechanism", "kprobe")], ids=["cheapest", "kprobe"])
def test_a_process_is_counted_in_a_pid_namespace(chosen: tuple[str, ...]) -> None:
    assert shutil.which("unshare")
    inside = ("unshare", "--pid", "--fork", "--mount-proc")
    name = "__x64_sys_getppid"
    words = ("count", name, "--json", *chosen, "--command-only", "--", sys.executable, "-c", CALLS)
    assert calls_of(run(*words, before=inside), name) == N
    whole = ("count", name, "--json", *chosen, "--", sys.executable, "-c", CALLS)
    assert calls_of(run(*whole, before=inside), name) >= N


def test_a_process_of_the_namespace_is_counted_by_its_id_there() -> None:
    name = "__x64_sys_getppid"
    script = (
        f"{sys.executable} -c 'import os, time; time.sleep(40); [os.getppid() for _ in range({N})]; time.sleep(2)' & "
        f"{sys.executable} -m multiprobe count {name} --json --pid $!"
    )
    found = run_shell(["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", script])
    assert calls_of(found, name) == N


def run_shell(words: list[str]) -> list[dict[str, Any]]:
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]

"""Whole-system measurements leave out multiprobe's own processes, and ids are those of the user's pid namespace."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import forked

N = 1000
CALLED_ONCE_ATTACHED = f"""\
import os, time
while "getppid" not in open("/sys/kernel/tracing/enabled_functions").read():
    time.sleep(0.2)
time.sleep(3)  # attached, it becomes active
for _ in range({N}): os.getppid()
time.sleep(1)
"""
CALLS = f"import os\nfor _ in range({N}): os.getppid()"
MULTIPROBE = [sys.executable, "-m", "multiprobe"]


def run(*words: str, before: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    done = subprocess.run([*before, *MULTIPROBE, *words], stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def calls_of(found: list[dict[str, Any]], name: str) -> int:
    return sum(one["calls"] for one in found if one.get("function") == name)


@pytest.mark.once("6.12")
def test_a_trace_has_none_of_our_own_processes() -> None:
    words = ["trace", "vfs_open", "-o", "/tmp/own.json", "--json", "--", "sh", "-c", "cat /etc/hostname; sleep 0.5"]
    with forked.Popen(words, stdout=subprocess.DEVNULL) as tracing:
        assert tracing.wait() == 0
    with open("/tmp/own.json") as file:
        *calls, report = map(json.loads, file)
    os.unlink("/tmp/own.json")
    command = report["command"]["pid"]
    assert any(call["process"] == command for call in calls)
    assert not [call for call in calls if call["process"] == tracing.pid]
    others = [call for call in calls if call["process"] != command]  # which is called python until it executes
    assert not [call for call in others if call["name"].startswith(("python", "multiprobe"))], "the watchdog"


@pytest.mark.once("6.12")
def test_they_are_measured_when_they_are_asked_for() -> None:
    traced = forked.Popen(["trace", "ksys_write", "--own", "--json", "-d", "1"], stdout=subprocess.PIPE, text=True)
    *calls, _ = map(json.loads, traced.communicate()[0].splitlines())
    assert any(call["process"] == traced.pid for call in calls)


@pytest.mark.parametrize(
    "chosen",
    [
        pytest.param((), id="cheapest", marks=pytest.mark.once("7.3")),
        pytest.param(("--mechanism", "kprobe"), id="kprobe", marks=pytest.mark.once("6.1")),
    ],
)
def test_a_process_is_counted_in_a_pid_namespace(chosen: tuple[str, ...]) -> None:
    assert shutil.which("unshare")
    inside = ("unshare", "--pid", "--fork", "--mount-proc")
    name = "__x64_sys_getppid"
    words = ("count", name, "--json", *chosen, "--command-only", "--", sys.executable, "-c", CALLS)
    assert calls_of(run(*words, before=inside), name) == N
    whole = ("count", name, "--json", *chosen, "--", sys.executable, "-c", CALLS)
    assert calls_of(run(*whole, before=inside), name) >= N


@pytest.mark.once("6.12")
def test_a_process_of_the_namespace_is_counted_by_its_id_there(tmp_path: Path) -> None:
    name = "__x64_sys_getppid"
    called = tmp_path / "called.py"
    called.write_text(CALLED_ONCE_ATTACHED)
    script = f"{sys.executable} {called} & {sys.executable} -m multiprobe count {name} --json --pid $!"
    found = run_shell(["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", script])
    assert calls_of(found, name) == N


NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc"]
CALLING = "import os, time\nwhile True:\n    os.getppid()\n    time.sleep(0.05)"
IDS = """\
import json, os, time
import multiprobe as mp

ids = mp.Hash((mp.i32, mp.i32, mp.u32, mp.u32), mp.u64)

@mp.program
def note(ctx):
    ids[ctx.ns_pid, ctx.ns_tid, ctx.pid, ctx.task.tgid] += 1

with mp.attach(note, "__x64_sys_getppid") as attachment:
    for _ in range(10):
        os.getppid()
    end, found = time.monotonic() + 60, {}
    while time.monotonic() < end and not any(key[0] < 0 for key in found):
        time.sleep(0.2)
        found = attachment.map(ids).as_dict()
    print(json.dumps({"own": os.getpid(), "found": [[*key, n] for key, n in found.items()]}))
"""


@pytest.fixture
def outsider() -> Iterator[int]:
    """A process outside of the namespace, which goes on calling getppid."""
    with subprocess.Popen([sys.executable, "-c", CALLING]) as process:
        yield process.pid
        process.kill()


@pytest.mark.once("6.1")
def test_programs_have_the_ids_of_the_namespace(outsider: int, tmp_path: Path) -> None:
    script = tmp_path / "ids.py"
    script.write_text(IDS)
    (answer,) = run_shell([*NAMESPACE, sys.executable, str(script)])
    own, found = answer["own"], {tuple(key): n for *key, n in answer["found"]}
    mine = [(key, n) for key, n in found.items() if key[:2] == (own, own)]
    assert [n for _, n in mine] == [10]
    assert mine[0][0][2] == mine[0][0][3] != own, "on the host"
    assert (-outsider, -outsider, outsider, outsider) in found
    assert all(key[0] for key in found), "never 0"


@pytest.mark.once("6.12")
def test_a_trace_shows_and_filters_the_ids_of_the_namespace(outsider: int, tmp_path: Path) -> None:
    name, kept = "__x64_sys_getppid", tmp_path / "pid"
    trace = f"{sys.executable} -m multiprobe trace {name} --json --max-events 4 -d 120 --filter"
    script = (
        f"{sys.executable} -c '{CALLING}' & echo $! > {kept}; {trace} \"pid == $! and tid == $!\"; {trace} 'pid < 0'"
    )
    found = [one for one in run_shell([*NAMESPACE, "sh", "-c", script]) if one["type"] == "call"]
    inside = int(kept.read_text())
    assert [(one["process"], one["thread"]) for one in found[:4]] == [(inside, inside)] * 4
    assert len(found) == 8
    assert (-outsider, -outsider) in {(one["process"], one["thread"]) for one in found[4:]}


def run_shell(words: list[str]) -> list[dict[str, Any]]:
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]

"""`multiprobe graph` against workloads of known shape."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from complete import complete

import forked
import missed

sys.path.append(str(Path(__file__).parents[1] / "unit" / "output"))

from trace_reader import read_trace

N = 37
READS = f"""
import os
fd = os.open('/proc/self/stat', os.O_RDONLY)
own = os.open('{__file__}', os.O_RDONLY)
os.pread(own, 5, 0)
for n in range({N}): os.pread(own, 5, 0)
try: os.pread(own, 5, -1)
except OSError: pass
for n in range({N}): os.getppid()
"""
FUNCTIONS = ("__x64_sys_pread64", "vfs_read", "__x64_sys_getppid")


def graph(*arguments: str) -> str:
    ended = forked.run(["graph", *arguments])
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def calls_of(text: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    *calls, report = map(json.loads, text.splitlines())
    assert {call["type"] for call in calls} == {"call"}
    return calls, report


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("graph")
    files = ("--perfetto", str(folder / "trace"), "--flame", str(folder / "flame.svg"))
    words = (*FUNCTIONS, "--args", "--json", "--command-only", *files, "--", sys.executable, "-c", READS)
    calls, report = complete(lambda: calls_of(graph(*words)), lambda found: found[1]["missed"], is_right=is_whole)
    return calls, report, folder


def edges_of(calls: list[dict[str, Any]]) -> Counter[tuple[str | None, str]]:
    """How often each function called each."""
    names = {call["id"]: call["function"] for call in calls}
    return Counter((names.get(call["caller"]), call["function"]) for call in calls)


def is_whole(found: tuple[list[dict[str, Any]], dict[str, Any]]) -> bool:
    """Whether every call of READS is there with its end, whatever was missed of other tasks."""
    edges = edges_of(found[0])
    n_reads = edges[None, "__x64_sys_pread64"]
    is_nested = edges["__x64_sys_pread64", "vfs_read"] == n_reads - 1 > N
    return is_nested and edges[None, "__x64_sys_getppid"] == N and not found[1]["unended"]


def test_calls_are_counted_and_nested(traced: Any) -> None:
    calls, report, _ = traced
    edges = edges_of(calls)
    n_reads = edges[None, "__x64_sys_pread64"]
    assert n_reads >= N + 2  # the interpreter reads, too
    assert edges["__x64_sys_pread64", "vfs_read"] == n_reads - 1  # an offset below 0 is refused at once
    assert edges[None, "__x64_sys_getppid"] == N
    assert report["calls"] == len(calls)
    assert report["missed"]["full_maps"] == 0


def test_durations_enclose_each_other(traced: Any) -> None:
    calls, report, _ = traced
    by_id = {call["id"]: call for call in calls}
    for call in calls:
        if call["end"] is None:
            continue
        assert call["duration"] == call["end"] - call["begin"] > 0
        if call["caller"] is not None:
            around = by_id[call["caller"]]
            assert around["begin"] < call["begin"]
            assert call["end"] < around["end"]
    assert report["unended"] == sum(1 for call in calls if call["end"] is None)
    assert {call["thread"] for call in calls} == {report["command"]["pid"]}
    assert {call["name"] for call in calls} <= {"python", "python3", Path(sys.executable).name[:15]}


def test_arguments_and_what_calls_returned(traced: Any) -> None:
    calls, _, _ = traced
    reads = [call for call in calls if call["function"] == "vfs_read" and call["arguments"].get("count") == 5]
    assert len(reads) >= N + 1
    assert {call["returned"] for call in reads} == {5}
    whole = [call["returned"] for call in calls if call["function"] == "__x64_sys_pread64"]
    assert whole[-1] == "-EINVAL"
    assert whole.count(5) >= N + 1


def test_the_trace_says_the_same(traced: Any) -> None:
    calls, _, folder = traced
    found = read_trace((folder / "trace").read_bytes())
    assert [(f.tid, f.name, f.begin, f.end) for f in found] == [
        (call["thread"], call["function"], call["begin"], call["end"]) for call in calls
    ]
    assert all(f.arguments.get("=") == call["returned"] for f, call in zip(found, calls, strict=True))


def test_the_flame_graph_has_every_function(traced: Any) -> None:
    _, _, folder = traced
    frames = [item.get("data-n") for item in ET.parse(folder / "flame.svg").iter() if item.get("data-n")]
    assert {"all", *FUNCTIONS} <= set(frames)


@pytest.mark.once("6.1")
def test_as_text_and_no_more_than_wanted() -> None:
    words = ("__x64_sys_getppid", "--command-only", "--max-events", "5", "--", sys.executable, "-c", READS)
    lines = graph(*words).splitlines()
    assert sum(line.endswith("  __x64_sys_getppid") for line in lines) == 5
    assert any(line.startswith("5 calls in 1 thread,") for line in lines)
    assert any("missed:" in line and "full maps" in line for line in lines)


@pytest.mark.once("6.1")
def test_folded_stacks_add_up() -> None:
    text = graph("__x64_sys_pread64", "vfs_read", "--command-only", "--folded", "--", sys.executable, "-c", READS)
    stacks = dict(line.rsplit(" ", 1) for line in text.splitlines())
    assert {"__x64_sys_pread64", "__x64_sys_pread64;vfs_read"} <= {stack.split(";", 1)[1] for stack in stacks}
    assert all(int(ns) > 0 for ns in stacks.values())


def test_calls_that_sleep_through_the_end(tmp_path: Path) -> None:
    calls, report = graph_a_sleeper(tmp_path / "pid")
    assert [(call["function"], call["end"] is None) for call in calls] == [
        ("__x64_sys_getppid", False),
        ("__x64_sys_pause", True),
    ]
    assert report["unended"] == 1


def graph_a_sleeper(file: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The calls of a process that sleeps when the measurement is ended; it writes its id to the file."""
    file.unlink(missing_ok=True)
    say_pid = f"print(os.getpid(), file=open({str(file)!r}, 'w'), flush=True)"
    code = f"import os, signal\n{say_pid}\nos.getppid()\nsignal.pause()"
    functions = ("__x64_sys_pause", "__x64_sys_getppid")
    with forked.Popen(
        ["graph", *functions, "--json", "--command-only", "--", sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
    ) as graphing:
        sleeper = wait_until_paused(file)
        graphing.send_signal(signal.SIGINT)
        text, _ = graphing.communicate(timeout=forked.TIME_LIMIT)
        with suppress(ProcessLookupError):
            os.kill(sleeper, signal.SIGKILL)
    missed.note(text)
    return calls_of(text)


def wait_until_paused(file: Path) -> int:
    """The process whose id is in the file, once it sleeps in pause(2)."""
    until = time.monotonic() + forked.TIME_LIMIT / 2
    while time.monotonic() < until:
        if file.exists() and (text := file.read_text()).endswith("\n"):
            with suppress(OSError):
                if "pause" in Path(f"/proc/{int(text)}/wchan").read_text():
                    return int(text)
        time.sleep(0.05)
    raise TimeoutError("it never paused")

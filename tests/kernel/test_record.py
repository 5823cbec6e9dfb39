"""The flight recorder in a real kernel: a full file system after much other traffic, and slow calls."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import forked

RECORDS = 256
TRAFFIC = "n=0; while [ $n -lt 500 ]; do : </etc/passwd; n=$((n+1)); done"
SLOW = "import os, time\nfor _ in range(300): os.getppid()\ntime.sleep(0.3)"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(tmp_path)], check=True)
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def record(*words: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Calls and report."""
    ended = forked.run(["record", *words[: words.index("--")], "--json", "--command-only", *words[words.index("--") :]])
    assert ended.returncode == 0, ended.stderr
    *calls, report = map(json.loads, ended.stdout.splitlines())
    return calls, report


@pytest.mark.once("6.12")
def test_what_led_to_a_full_file_system(small: Path) -> None:
    fill = f"{TRAFFIC}; dd if=/dev/zero of={small}/full bs=4k; {TRAFFIC}"
    words = ("vfs_*", "shmem_*", "ksys_write", "--until", "ret == -ENOSPC", "--records", str(RECORDS))
    calls, report = record(*words, "--", "sh", "-c", fill)
    held = report["held"]
    assert held["function"].startswith("shmem_")
    (last,) = [call for call in calls if call["returned"] == "-ENOSPC"]
    assert (last["begin"], last["function"], last["name"]) == (held["begin"], held["function"], "dd")
    led = [call for call in calls if call["thread"] == last["thread"]]
    assert len(led) > 10
    assert "vfs_write" in [call["function"] for call in led if call["end"] is None], "it was in progress"
    assert [call["function"] for call in led].count("vfs_write") >= 5  # of as many functions as a kernel calls for one
    assert report["overwritten"] > 0
    assert len(calls) <= RECORDS * 2


@pytest.mark.once("7.3")
def test_a_slow_call_stops_it_and_only_the_last_moments_are_kept() -> None:
    names = ("__x64_sys_getppid", "__x64_sys_clock_nanosleep")
    words = (*names, "--until", "duration > 200ms", "--last", "100ms")
    calls, report = record(*words, "--", sys.executable, "-c", SLOW)
    assert report["held"]["function"] == "__x64_sys_clock_nanosleep"
    assert [call["function"] for call in calls] == ["__x64_sys_clock_nanosleep"]
    assert calls[0]["duration"] > 200_000_000


@pytest.mark.once("6.1")
def test_a_condition_that_never_holds() -> None:
    calls, report = record("__x64_sys_getppid", "--until", "ret == 0", "--", sys.executable, "-c", SLOW)
    assert report["held"] is None
    assert len(calls) == 300

"""`multiprobe stacks` against workloads of known shape."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

import forked

N, M = 37, 12
#: A function that ends by calling another one may have handed over its frame.
WAYS = {"pread": {"__x64_sys_pread64", "ksys_pread64"}, "readv": {"__x64_sys_readv", "do_readv", "vfs_readv"}}
READS = f"""
import os
own = os.open('{__file__}', os.O_RDONLY)
for n in range({N}): os.pread(own, 5, 0)
for n in range({M}): os.readv(own, [bytearray(5)])
"""
#: A process must be looked at while it lives: it ends the measurement as Ctrl-C does, and is there until it is ended.
STAY = f"{READS}import signal\nos.kill(os.getppid(), signal.SIGINT)\nsignal.pause()\n"


def stacks(*arguments: str, code: str = READS) -> str:
    command = ["stacks", *arguments, "--command-only", "--", sys.executable, "-c", code]
    ended = forked.run(command)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def counted(*arguments: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    code = STAY if "--user" in arguments else READS
    *found, report = map(json.loads, stacks("--json", *arguments, code=code).splitlines())
    assert {stack["type"] for stack in found} == {"stack"}
    return found, report


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param([], id=""),
        pytest.param(["--time"], id="time", marks=pytest.mark.once("7.3")),
        pytest.param(["--user"], id="user", marks=pytest.mark.once("6.12")),
        pytest.param(["--time", "--user"], id="both", marks=pytest.mark.once("6.12")),
    ],
)
def test_calls_by_the_way_that_led_there(extra: list[str]) -> None:
    found, report = counted("security_file_permission", *extra)
    by_call = {"pread": 0, "readv": 0}
    for stack in found:
        assert stack["frames"][-1] == "security_file_permission"
        assert not any("bpf_" in frame or "ftrace_" in frame for frame in stack["frames"]), stack
        for call, names in WAYS.items():
            if names & set(stack["frames"]):
                by_call[call] += stack["calls"]
        if "--time" in extra:
            assert stack["ns"] > 0
    n_each = by_call["readv"] // M  # on an overlay, the file under it is asked, too
    assert n_each >= 1, found
    assert by_call["readv"] == n_each * M
    assert by_call["pread"] >= n_each * N  # the interpreter reads, too
    assert report["not_taken"] == {}
    assert report["calls"] == sum(stack["calls"] for stack in found)
    if "--user" in extra:
        assert any(frame.endswith(")") and " (" in frame for stack in found for frame in stack["frames"])


@pytest.mark.once("6.1")
def test_folded_stacks_add_up() -> None:
    lines = stacks("__x64_sys_readv", "--folded").splitlines()
    assert all(line.rpartition(" ")[0].endswith(";__x64_sys_readv") for line in lines)
    assert sum(int(line.rpartition(" ")[2]) for line in lines) == M

"""Functions of programs and of the kernel in one attachment: one sequence of indices and cookies. In guests only."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import forked
import multiprobe as mp

Run = Callable[..., int]
pytestmark = pytest.mark.usefixtures("guest")
calls = mp.PerFunction(mp.u64)
cookies = mp.PerFunction(mp.u64)
sums = mp.PerFunction(mp.u64)


@mp.program
def count(ctx: mp.Context) -> None:
    calls[ctx.function] += 1
    cookies[ctx.function] = ctx.cookie


@mp.program(when="return")
def add_results(ctx: mp.Context) -> None:
    sums[ctx.function] += ctx.ret


MECHANISMS = ("kprobe_multi", "tracing_multi", "trampoline", "kprobe")


@pytest.fixture(params=MECHANISMS)
def mechanism(request: pytest.FixtureRequest) -> str:
    if not mp.Kernel().has(request.param):
        pytest.skip(f"this kernel has no {request.param}")
    return str(request.param)


@pytest.mark.parametrize("is_kernel_first", [True, False])
def test_one_sequence(binary: mp.Binary, run: Run, mechanism: str, is_kernel_first: bool) -> None:
    of_kernel, of_binary = mp.Kernel().functions("vfs_mkdir", "vfs_rmdir"), binary.functions("second", "leaf")
    sets = [of_kernel, of_binary] if is_kernel_first else [of_binary, of_kernel]
    names = (
        ["vfs_mkdir", "vfs_rmdir", "second", "leaf"]
        if is_kernel_first
        else ["second", "leaf", "vfs_mkdir", "vfs_rmdir"]
    )
    allowed = [mechanism, "uprobe_multi"]
    with mp.attach(count, sets, cookies=[11, 22, 33, 44], mechanisms=allowed) as attachment:
        assert [function.name for function in attachment.functions] == names
        folder = Path(binary.path).parent / "folder"
        for _ in range(3):
            folder.mkdir()
            folder.rmdir()
        run("tail", 5)
        run("plain", 7)
        found = dict(zip(names, attachment.totals(calls), strict=True))
        told = dict(zip(names, attachment.totals(cookies), strict=True))
    assert attachment.report.mechanisms == {mechanism: 2, "uprobe_multi": 2}
    assert found["vfs_mkdir"] >= 3
    assert found["vfs_rmdir"] >= 3
    assert (found["second"], found["leaf"]) == (5, 7)
    assert told == dict(zip(names, (11, 22, 33, 44), strict=True))


def test_results_of_both(binary: mp.Binary, run: Run) -> None:
    """The kernel's results have types, those of a program are whole registers."""
    with mp.attach(add_results, [binary.functions("leaf"), mp.Kernel().functions("vfs_rmdir")]) as attachment:
        run("values")
        with pytest.raises(OSError, match="not empty"):
            Path(binary.path).parent.rmdir()  # the program is in it
        of_binary, of_kernel = attachment.totals(sums)
    assert of_binary == 42
    assert 2**64 - of_kernel in (errno.ENOTEMPTY, 2 * errno.ENOTEMPTY), "overlayfs asks its upper layer, too"


def run_json(*arguments: str) -> list[dict[str, Any]]:
    ran = forked.run(arguments, check=True)
    return [json.loads(line) for line in ran.stdout.splitlines()]


@pytest.mark.usefixtures("sessions")
def test_one_tree(program: Path) -> None:
    """Calls of the kernel stand below the function of the program that made the system call."""
    *calls, _ = run_json("graph", "--json", f"{program}:opens", "vfs_open", "--", str(program), "opens", "3")
    found = {call["id"]: call for call in calls}
    callers = [found.get(call["caller"]) for call in calls if call["function"] == "vfs_open"]
    # The loader opens files, too; and overlayfs opens a file of another file system, by vfs_open below vfs_open.
    assert [caller["function"] for caller in callers if caller].count("opens") == 3


@pytest.mark.usefixtures("sessions")
def test_an_error_of_the_kernel_reaches_the_program(program: Path) -> None:
    arguments = (f"{program}:opens", "do_sys_openat2", "path_openat", "--", str(program), "fails", "3")
    *groups, _ = run_json("errors", "--json", *arguments)
    (group,) = [group for group in groups if group["path"][0] == "opens"]
    assert (group["count"], group["error"], group["end_error"]) == (3, "ENOENT", "-1")
    assert group["path"][-1] == "path_openat"


@pytest.mark.once("6.12")
def test_stacks_of_both(framed: Path) -> None:
    arguments = (f"{framed}:asks", "vfs_open", "--user", "--json", "--", "sh", "-c", f"{framed} errors 4")
    *stacks, _ = run_json("stacks", *arguments)
    of_program = [stack for stack in stacks if stack["function"] == "asks"]
    assert [(stack["calls"], stack["frames"][-2]) for stack in of_program] == [(4, f"copes ({framed.name})")]
    assert all("path_openat" in " ".join(stack["frames"]) for stack in stacks if stack["function"] == "vfs_open")


def test_patterns_of_both(program: Path) -> None:
    command = [
        "count",
        "vfs_mkdir",
        f"{program}:leaf",
        "--json",
        "--",
        "sh",
        "-c",
        f"{program} plain 9; mkdir {program}.d",
    ]
    ran = forked.run(command, check=True)
    rows = {row["function"]: row for row in map(json.loads, ran.stdout.splitlines()) if row["type"] == "function"}
    assert (rows["leaf"]["calls"], rows["leaf"]["module"]) == (9, "calls")
    assert rows["vfs_mkdir"]["calls"] >= 1

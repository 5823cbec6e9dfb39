"""Coverage of real commands: what must differ does, ftrace's own tracer saw nothing else, capabilities have answers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import forked
import missed
import multiprobe as mp
from multiprobe.instruments.coverage.instrument import start
from polling import poll_until

MANY = ["vfs_*", "do_sys_open*", "*fadvise*", "__x64_sys_*", "path_*", "security_*", "do_filp_open", "do_exit"]
FEW = ["vfs_open", "vfs_read", "vfs_fstat", "vfs_statx", "do_sys_openat2", "*fadvise*", "do_filp_open", "do_exit"]
FEW += ["__x64_sys_" + name for name in ("openat", "execve", "close", "exit_group", "mkdir", "read", "mmap", "brk")]
FEW += ["security_file_open", "security_mmap_file", "security_bprm_check", "path_openat"]
PATTERNS = MANY if mp.Kernel().has("kprobe_multi") else FEW  # one by one, many take minutes
TRACEFS = Path("/sys/kernel/tracing")
TRACED = f'echo $$ >{TRACEFS}/set_ftrace_pid; echo function >{TRACEFS}/current_tracer; exec "$@"'


def cover(command: list[str], patterns: list[str], *, runs: int = 1) -> mp.Coverage:
    """Coverage; calls that the kernel missed in it are noted, since they may be the only ones of a function."""
    found = mp.coverage(command, patterns, runs=runs)
    assert found.report is not None
    missed.note(json.dumps(found.report.to_json()))
    return found


def names(covered: object) -> set[str]:
    return {one.function.name for one in covered}  # type: ignore[attr-defined]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("text\n")
    return path


@pytest.mark.once("7.3")
def test_a_file_that_is_missing_is_not_read(file: Path) -> None:
    there = cover(["cat", str(file)], PATTERNS, runs=5)
    missing = cover(["cat", f"{file}.missing"], PATTERNS, runs=5)
    assert (there.statuses, missing.statuses) == ((0,) * 5, (1,) * 5)
    only = names(there.always) - names(missing.covered)
    assert {"generic_fadvise", "__x64_sys_fadvise64"} <= only
    assert {"vfs_open", "do_sys_openat2", "do_exit", "__x64_sys_exit_group"} <= names(missing.always)
    assert "__x64_sys_mkdir" not in names(there.covered) | names(missing.covered)
    assert {"openat", "execve", "close"} <= set(there.system_calls)
    assert "security_file_open" in there.lsm_hooks
    firsts = [one.first for one in there.covered]
    assert all(first is not None for first in firsts)
    assert {first.name for first in firsts if first} >= {"cat"}
    assert there.report is not None
    assert there.report.processes == 5


@pytest.fixture
def tracer() -> Iterator[None]:
    """ftrace's function tracer, ready to be started; off again afterwards."""
    try:
        for pattern in PATTERNS:
            with suppress(OSError), (TRACEFS / "set_ftrace_filter").open("a") as file:  # EINVAL: none is called so
                file.write(pattern)
        (TRACEFS / "options/function-fork").write_text("1")
        yield
    finally:
        for name, text in {"current_tracer": "nop", "set_ftrace_filter": "", "set_ftrace_pid": ""}.items():
            (TRACEFS / name).write_text(text)
        (TRACEFS / "options/function-fork").write_text("0")


def test_nothing_that_ftrace_sees_is_missing(file: Path, tracer: None) -> None:
    covered = cover(["cat", str(file)], PATTERNS)
    subprocess.run(["sh", "-c", TRACED, "sh", "cat", str(file)], check=True)  # with the same output: cat looks at it
    lines = [line.split() for line in (TRACEFS / "trace").read_text().splitlines() if not line.startswith("#")]
    own = [line for line in lines if line[0].startswith("cat-") and line[2][2] == "."]  # no interrupts
    start = next(n for n, line in enumerate(own) if line[-2] == "__x64_sys_execve")
    seen = {line[-2] for line in own[start:]}
    assert len(seen) > 10
    assert seen & names_of(covered.functions) - names(covered.covered) == set()


def names_of(functions: mp.FunctionSet) -> set[str]:
    return {function.name for function in functions}


def is_enabled(name: str) -> bool:
    """Whether ftrace calls somebody at this function."""
    return any(line.split()[0] == name for line in (TRACEFS / "enabled_functions").read_text().splitlines())


def test_a_function_that_ran_is_detached_until_the_next_run() -> None:
    kernel = mp.Kernel()
    if not kernel.has("kprobe_multi") and not kernel.has("tracing_multi"):
        pytest.skip("this kernel has no kprobe_multi")
    called, never = "__x64_sys_getpgid", "__x64_sys_mkdir"
    workload = subprocess.Popen([sys.executable, "-c", "import os\nwhile True: os.getpgid(0)"])
    try:
        with start(kernel.functions(called, never), pid=workload.pid) as running:
            poll_until(running.poll, lambda: not is_enabled(called))
            assert (is_enabled(called), is_enabled(never)) == (False, True)
            running.end_run()
            running.begin_run()
            assert is_enabled(called)
            poll_until(running.poll, lambda: [one.n_runs for one in running.sample().covered] == [2])
            found = running.finish()
    finally:
        workload.kill()
        workload.wait()
    assert [(one.function.name, one.n_runs) for one in found.covered] == [(called, 2)]
    assert running.report.dropped == ()


@pytest.mark.once("6.1")
def test_capabilities_are_granted_and_denied(file: Path) -> None:
    granted = cover(["chown", "1", str(file)], ["security_capable"])
    assert granted.capabilities is not None
    assert [(one.name, one.denied) for one in granted.capabilities if one.name == "CAP_CHOWN"] == [("CAP_CHOWN", 0)]
    command = ["setpriv", "--reuid", "65534", "--clear-groups", "chown", "0", str(file)]
    denied = cover(command, ["security_capable"])
    assert denied.capabilities is not None
    assert {one.name for one in denied.capabilities if one.denied} & {"CAP_DAC_READ_SEARCH", "CAP_CHOWN"}


@pytest.mark.once("6.12")
def test_the_command_against_a_saved_run(file: Path) -> None:
    saved = f"{file}.jsonl.gz"
    ended = forked.run(["coverage", *PATTERNS, "--runs", "3", "--save", saved, "--", "cat", f"{file}.missing"])
    assert ended.returncode == 0, ended.stderr
    assert "in each of 3 runs" in ended.stdout
    ended = forked.run(
        ["coverage", *PATTERNS, "--against", saved, "-o", f"{file}.json", "--json", "--", "cat", str(file)]
    )
    assert ended.returncode == 0, ended.stderr
    report = json.loads(Path(f"{file}.json").read_text().splitlines()[-1])
    assert {"module": "", "function": "generic_fadvise"} in report["against"]["new"]

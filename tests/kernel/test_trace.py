"""`trace` on a real kernel: what it shows is what the workload passed, and what the kernel answered."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import forked
import multiprobe as mp

pytestmark = pytest.mark.once("6.1")

WORK = """\
import os, sys
os.read(0, 0)
for name in sys.argv[1:]:
    try:
        fd = os.open(name, os.O_RDONLY)
        os.pread(fd, 4321, 7)
        os.close(fd)
    except OSError:
        pass
"""


def trace(*arguments: str, command: list[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    words = ["trace", *arguments, "--command-only", "--json", "--", *command]
    ended = forked.run(words)
    assert ended.returncode == 0, ended.stderr
    *calls, report = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith('{"type"')]
    assert report["type"] == "report"
    assert report["missed"].get("dropped_events", 0) == 0
    return calls, report


@pytest.fixture
def names(tmp_path: Path) -> list[str]:
    (tmp_path / "present").write_text("x" * 10000)
    return [str(tmp_path / "present"), str(tmp_path / "absent")]


def test_system_calls_by_their_own_arguments(names: list[str]) -> None:
    command = [sys.executable, "-I", "-S", "-c", WORK, *names]
    calls, report = trace("__x64_sys_openat", "vfs_read", command=command)
    opened = {call["arguments"]["filename"].strip('"'): call for call in calls if "filename" in call["arguments"]}
    assert isinstance(opened[names[0]]["returned"], int)
    assert opened[names[0]]["returned"] >= 3
    assert opened[names[1]]["returned"] == "-ENOENT"
    assert opened[names[0]]["arguments"]["dfd"] == -100  # AT_FDCWD
    reads = [call for call in calls if call["function"] == "vfs_read" and call["arguments"]["count"] == 4321]
    assert [call["returned"] for call in reads] == [4321]
    assert all(call["process"] == report["command"]["pid"] and call["duration"] > 0 for call in calls)
    strace = shutil.which("strace")
    if strace is not None:
        told = subprocess.run([strace, "-e", "openat", *command], capture_output=True, text=True, check=True).stderr
        assert {line.split('"')[1] for line in told.splitlines() if line.startswith("openat(")} >= set(names)
        assert len([line for line in told.splitlines() if line.startswith("openat(")]) == len(
            [call for call in calls if call["function"] == "__x64_sys_openat"]
        )


MIGRATE = """\
import ctypes, os
mask = ctypes.c_ulong(1)
ctypes.CDLL(None).syscall(256, os.getpid(), 2, ctypes.byref(mask), ctypes.byref(mask))  # migrate_pages
"""


def test_arguments_behind_the_address_of_a_returned_struct() -> None:
    """`nodemask_t cpuset_mems_allowed(struct task_struct *tsk)` has `tsk` in the second register."""
    if mp.Kernel().functions("cpuset_mems_allowed").verdicts()[0].code != "struct_return":
        pytest.skip("this kernel has no struct_return")  # its nodemask_t fits in a register
    command = [sys.executable, "-c", MIGRATE]
    words = ("cpuset_mems_allowed", "--args", "tsk,tsk.tgid", "--filter", "tsk.tgid == pid")
    calls, report = trace(*words, command=command)
    assert calls, "migrate_pages asks for the memory nodes that the task may use"
    for call in calls:
        assert call["arguments"]["tsk.tgid"] == report["command"]["pid"]
        assert call["arguments"]["tsk"].startswith("0xff")
        assert call["returned"].startswith("*(nodemask_t *)0xff")


DENIED = """\
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
for _ in range(3):
    try:
        mmap.mmap(fd, 4096, mmap.MAP_SHARED, mmap.PROT_WRITE)
    except PermissionError:
        pass
"""


def test_an_errno_in_an_unsigned_long(names: list[str]) -> None:
    command = [sys.executable, "-c", DENIED, names[0]]
    calls, _ = trace("do_mmap", "--filter", "-4096 < ret < 0", command=command)
    assert [call["returned"] for call in calls].count("-EACCES") == 3
    words = ["errors", "do_mmap", "--command-only", "--json", "--", *command]
    ended = forked.run(words, check=True)
    groups = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
    assert [group["count"] for group in groups if group.get("error") == "EACCES"] == [3]


def test_filters_in_the_probe(names: list[str]) -> None:
    command = [sys.executable, "-I", "-S", "-c", WORK, *names]
    failed, _ = trace("__x64_sys_openat", "--filter", "ret == -ENOENT", command=command)
    assert names[1] in {call["arguments"]["filename"].strip('"') for call in failed}
    assert {call["returned"] for call in failed} == {"-ENOENT"}
    chosen, _ = trace("vfs_read", "--filter", "count == 4321 and ret > 0", "--args", "count", command=command)
    assert [call["arguments"] for call in chosen] == [{"count": 4321}]
    none, _ = trace("vfs_read", "--filter", "comm == 'nobody'", command=command)
    assert none == []


COUNTED = """\
import os, sys
file = os.open(sys.argv[1], os.O_RDWR | os.O_TRUNC)
for text in (b"hello", b"hello-not-terminated"):
    os.write(file, memoryview(b"hello-not-terminated")[:len(text)])
os.pread(file, 4000, 0)
os.pread(file, 7, 0)
os.pread(file, 100, 9999)
os.chdir("/tmp")
os.getcwd()
"""
WRITTEN = "hellohello-not-terminated"


@pytest.fixture
def counted(tmp_path: Path) -> list[str]:
    (tmp_path / "written").touch()
    return [sys.executable, "-I", "-S", "-c", COUNTED, str(tmp_path / "written")]


def buffers(calls: list[dict[str, Any]]) -> list[str]:
    return [call["arguments"]["buf"] for call in calls]


@pytest.mark.parametrize("names", [("vfs_write", "vfs_read"), ("__x64_sys_write", "__x64_sys_pread64")])
def test_strings_end_where_their_count_says(names: tuple[str, str], counted: list[str]) -> None:
    """By BTF, and by the formats of system calls. What a call writes is shown after its return."""
    writing, reading = names
    calls, _ = trace(*names, command=counted)
    assert buffers([call for call in calls if call["function"] == writing]) == ['"hello"', '"hello-not-terminated"']
    read = [call for call in calls if call["function"] == reading and call["arguments"]["count"] in (4000, 7, 100)]
    assert [call["arguments"]["buf"] for call in read[-3:-1]] == [f'"{WRITTEN}"', f'"{WRITTEN[:7]}"']
    assert read[-1]["arguments"]["buf"].startswith("0x"), "nothing was read"
    assert read[-1]["returned"] == 0


def test_only_entries_show_no_buffer_that_will_be_filled(counted: list[str]) -> None:
    calls, _ = trace("vfs_read", "--entry", "--filter", "count == 7", command=counted)
    assert [one[:2] for one in buffers(calls)] == ["0x"]


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("vfs_write", 'buf == "hello"', ['"hello"']),
        ("__x64_sys_write", 'buf == "hello"', ['"hello"']),
        ("vfs_write", 'buf != "hello" and count < 99', ['"hello-not-terminated"']),
        ("vfs_read", f'buf == "{WRITTEN}"', [f'"{WRITTEN}"']),
        ("vfs_read", f'buf in ("{WRITTEN[:7]}", "x") and ret == 7', [f'"{WRITTEN[:7]}"']),
        ("__x64_sys_pread64", f'buf == "{WRITTEN[:7]}"', [f'"{WRITTEN[:7]}"']),
        ("__x64_sys_getcwd", 'buf == "/tmp"', ['"/tmp"']),
        ("vfs_write", 'buf == "hell"', []),
    ],
)
def test_filters_of_strings_with_a_count(name: str, text: str, found: list[str], counted: list[str]) -> None:
    calls, report = trace(name, "--filter", text, command=counted)
    assert buffers(calls) == found
    assert not report["missed"].get("failed_reads"), report["missed"]


def test_entries_only_and_limits(names: list[str]) -> None:
    command = [sys.executable, "-I", "-S", "-c", WORK, *names]
    calls, report = trace("vfs_read", "--entry", "--max-events", "2", command=command)
    assert len(calls) == report["calls"] == 2
    assert {call["returned"] for call in calls} == {None}


def test_a_filter_that_can_not_be(names: list[str]) -> None:
    words = ["trace", "vfs_read", "--filter"]
    for text, status in (("ret <", 2), ("ret > arg12", 2), ("no_such_name > 1", 2), ("open(1)", 2)):
        ended = forked.run([*words, text, "-d", "0"])
        assert ended.returncode == status, ended.stderr
        assert "Traceback" not in ended.stderr


def test_text_for_people() -> None:
    words = ["trace", "vfs_open", "--", "true"]
    ended = forked.run(words)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r'  vfs_open\(path=&{name="true"}, file=0x[0-9a-f]{16}\) = 0  \[', ended.stdout)
    assert os.uname().release
    assert mp.Kernel().function("vfs_open")

"""`trace` behind pointers: members by path and by depth, filters on them and on texts, stacks, many arguments."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import forked
import multiprobe as mp

pytestmark = pytest.mark.once("6.1")

SIZE, ODD, MUCH = 16384, 4321, 20000
WORK = """\
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
os.pread(fd, 4321, 7)
os.pread(fd, 20000, 0)
mmap.mmap(fd, 8192, mmap.MAP_PRIVATE, mmap.PROT_READ, offset=4096).close()
"""


def run(*arguments: str, name: Path) -> subprocess.CompletedProcess[str]:
    command = ["--command-only", "--json", "--", sys.executable, "-ISs", "-c", WORK, str(name)]
    words = ["trace", *arguments, *command]
    return forked.run(words)


def one_call(*arguments: str, name: Path) -> dict[str, Any]:
    """The only call that passes. Other calls' texts may not be in memory yet, which doesn't count."""
    ended = run(*arguments, name=name)
    assert ended.returncode == 0, ended.stderr
    call, report = map(json.loads, ended.stdout.splitlines())
    assert call["process"] == report["command"]["pid"]
    return dict(call)


@pytest.fixture
def name(tmp_path: Path) -> Path:
    (tmp_path / "present").write_bytes(bytes(SIZE))
    return tmp_path / "present"


def test_members_by_their_path(name: Path) -> None:
    path = "file.f_path.dentry.d_name.name"
    call = one_call("vfs_read", "--args", f"{path},count", "--filter", f"count == {ODD}", name=name)
    assert (call["arguments"], call["returned"]) == ({path: '"present"', "count": ODD}, ODD)


def test_a_filter_of_member_argument_and_result(name: Path) -> None:
    expression = 'ret < count and file.f_path.dentry.d_name.name == "present"'
    call = one_call("vfs_read", "--filter", expression, name=name)
    assert (call["arguments"]["count"], call["returned"]) == (MUCH, SIZE)


def test_structs_to_a_depth(name: Path) -> None:
    call = one_call("vfs_read", "--depth", "1", "--filter", f"count == {ODD}", name=name)
    assert call["members"]["pos"] == 7
    file = call["members"]["file"]
    assert file["f_pos"] == 0
    assert "O_RDONLY" in file["f_flags"].split("|")
    assert {"FMODE_READ", "FMODE_PREAD"} <= set(file["f_mode"].split("|"))
    assert set(file["f_path"]) == {"mnt", "dentry"}


def test_only_addresses(name: Path) -> None:
    call = one_call("vfs_read", "--depth", "0", "--filter", f"count == {ODD}", name=name)
    assert call["members"] == {}
    assert call["arguments"]["file"].startswith("0xff")


def test_the_stack_of_a_call(name: Path) -> None:
    stack = one_call("vfs_read", "--stack", "--filter", f"count == {ODD}", name=name)["stack"]
    assert any("pread64" in frame for frame in stack[:2]), stack
    assert any("do_syscall_64" in frame for frame in stack), stack


def test_a_text_in_a_filter(name: Path) -> None:
    call = one_call("__x64_sys_openat", "--filter", f'filename == "{name}"', name=name)
    assert call["arguments"]["filename"] == f'"{name}"'
    assert call["arguments"]["flags"] == "O_RDONLY|O_CLOEXEC"


def test_more_than_six_arguments(name: Path) -> None:
    """`pgoff` is the sixth or seventh, by the kernel; what comes after it are addresses on the stack."""
    has_multi = mp.Kernel().has("kprobe_multi") or mp.Kernel().has("tracing_multi")
    how = () if has_multi else ("--mechanism", "kprobe")  # a trampoline of such a kernel takes six
    call = one_call("do_mmap", *how, "--filter", "len == 8192 and pgoff == 1", name=name)
    arguments = call["arguments"]
    assert (arguments["len"], arguments["prot"], arguments["pgoff"]) == (8192, 1, 1)
    assert len(arguments) >= 8
    assert arguments["populate"].startswith("0xff")
    assert call["members"]["file"]["name"] == '"present"'


def test_a_member_that_is_not_there(name: Path) -> None:
    ended = run("vfs_read", "--args", "file.f_pth", name=name)
    assert ended.returncode == 2
    assert "struct file has no member 'f_pth'" in ended.stderr
    assert "f_path" in ended.stderr

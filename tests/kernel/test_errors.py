"""`multiprobe errors` on failures that are provoked: the function that failed first is known, and the path."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from return_values import ReturnValues, failures

import forked

ERRORS = ["errors", "--json"]
#: On kernels without batches every function costs seconds: names, not patterns.
OPENING = ("do_sys_openat2", "do_filp_open", "path_openat", "inode_permission", "generic_permission", "may_open")


def watch(*arguments: str, code: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The groups (or, with --each, failures and groups) and the report, of a Python program that fails on purpose."""
    command = [*ERRORS, *arguments, "--command-only", "--", sys.executable, "-c", code]
    ended = forked.run(command)
    assert ended.returncode == 0, ended.stderr
    *found, report = map(json.loads, ended.stdout.splitlines())
    assert report["command"]["status"] == 0, ended.stderr
    print(*found, report, sep="\n")  # shown when an assertion fails
    return found, report


def of(found: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    """The only object with these fields."""
    (one,) = [item for item in found if all(item[name] == wanted for name, wanted in fields.items())]
    return one


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tiny", str(tmp_path)], check=True)
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.once("6.12")
def test_no_space_is_traced_to_the_file_system(tiny: Path) -> None:
    code = f"""
import os
fd = os.open("{tiny}/file", os.O_CREAT | os.O_WRONLY)
for _ in range(3):
    try:
        while True: os.write(fd, bytes(65536))
    except OSError as error:
        assert error.errno == 28
"""
    shmem = ("write_begin", "get_folio", "get_folio_gfp", "alloc_and_acct_folio", "alloc_and_add_folio")
    shmem = (*shmem, "inode_acct_block", "inode_acct_blocks", "file_write_iter")  # not every kernel has each
    names = ("vfs_write", "generic_perform_write", *(f"shmem_{name}" for name in shmem))
    found, report = watch(*names, "--allow", "ENOSPC", "--unhandled", code=code)  # some kernels try twice
    group = of(found, type="group", end="vfs_write")
    assert group["count"] == 3
    assert (group["error"], group["end_error"], group["outcome"]) == ("ENOSPC", "ENOSPC", "returned")
    assert group["path"][0] == "vfs_write"
    assert group["path"][-1] == group["first"]
    assert group["first"].startswith("shmem_")
    assert group["first"] not in ("shmem_file_write_iter", "shmem_write_begin"), "these only pass it on"
    assert report["failures"] == 3


@pytest.mark.once("7.3")
def test_a_refused_open_is_traced_to_the_permission_check(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("")
    secret.chmod(0o600)
    for parent in (tmp_path, *tmp_path.parents):
        if parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    code = f"""
import os
os.setuid(65534)
for _ in range(4):
    try: os.open("{secret}", os.O_RDONLY)
    except PermissionError: pass
"""
    found, _ = watch(*OPENING, "--allow", "EACCES", "--unhandled", code=code)
    group = of(found, end="do_sys_openat2")
    assert group["count"] == 4
    assert group["first"] == "generic_permission"
    assert group["path"][0] == "do_sys_openat2"
    assert group["path"][-2:] == ["inode_permission", "generic_permission"]
    assert "path_openat" in group["path"], "it came through a pointer too"
    assert group["end_error"] == "EACCES"


@pytest.mark.once("6.1")
def test_a_refused_connection() -> None:
    code = """
import socket
for _ in range(2):
    try: socket.create_connection(("127.0.0.1", 1))
    except ConnectionRefusedError: pass
"""
    found, _ = watch("__sys_connect", "inet_stream_connect", "__inet_stream_connect", code=code)
    group = of(found, error="ECONNREFUSED")
    assert group["count"] == 2
    assert group["path"] == ["__sys_connect", "inet_stream_connect", "__inet_stream_connect"]
    assert (group["first"], group["end"]) == ("__inet_stream_connect", "__sys_connect")


@pytest.mark.once("6.12")
def test_a_failing_mount(tmp_path: Path) -> None:
    code = f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
assert libc.mount(b"none", b"{tmp_path}", b"tmpfs", 0, b"size=12nonsense") == -1
assert ctypes.get_errno() == 22
"""
    names = ("path_mount", "vfs_parse_fs_param", "vfs_parse_fs_string", "shmem_parse_one", "shmem_parse_options")
    found, _ = watch(*names, code=code)
    group = of(found, end="path_mount")
    assert (group["count"], group["error"], group["end_error"]) == (1, "EINVAL", "EINVAL")
    assert group["first"] == "shmem_parse_one"
    assert group["path"][0] == "path_mount"


@pytest.mark.once("7.3")
def test_each_failure_with_its_arguments() -> None:
    code = """
import os
for fd in (700, 701):
    try: os.dup2(fd, 5)
    except OSError: pass
"""
    found, report = watch("__x64_sys_dup2", "ksys_dup3", "--each", "--deny", "NULL", code=code)
    each = [item for item in found if item["type"] == "failure"]
    assert [item["error"] for item in each] == ["EBADF", "EBADF"]
    assert all(item["pid"] == report["command"]["pid"] for item in each)
    assert all(item["name"].startswith("python") for item in each)
    typed = [item for item in each if item["first"] == "ksys_dup3"]
    assert [item["arguments"]["oldfd"] for item in typed] == [700, 701][: len(typed)]
    assert sum(item["count"] for item in found if item["type"] == "group") == 2


@pytest.mark.once("6.12")
def test_what_succeeds_is_not_reported() -> None:
    found, report = watch("vfs_read", "vfs_write", "ksys_read", code="open('/proc/self/stat').read()")
    assert not [group for group in found if group["error"] not in ("ENOENT", "ENOTTY", "EAGAIN")]
    assert report["missed"]["deep_calls"] == 0


@pytest.mark.parametrize("arguments", [["--allow", "ENONSENSE"], ["--deny", "x,y"]])
def test_errors_that_do_not_exist(arguments: list[str]) -> None:
    ended = forked.run([*ERRORS, "vfs_read", "-d", "0", *arguments])
    assert ended.returncode == 2


#: A few ways to fail, some of them in a place from where the kernel goes on: names that are not there, that are there
#: already, that may not be passed, and too many links on the way.
TROUBLE = """
import os, sys
folder = sys.argv[1]
def attempt(call, *arguments):
    try: call(*arguments)
    except OSError: pass
attempt(os.open, folder + "/none", os.O_RDONLY)
attempt(os.open, folder + "/none/below", os.O_RDONLY)
attempt(os.open, folder, os.O_WRONLY)
os.symlink(folder + "/loop", folder + "/loop")
attempt(os.open, folder + "/loop", os.O_RDONLY)
attempt(os.open, folder + "/loop", os.O_RDONLY | os.O_NOFOLLOW)
for n in range(3): attempt(os.open, folder + "/made", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
os.seteuid(65534)
attempt(os.open, folder + "/made", os.O_WRONLY)
attempt(os.open, folder + "/new", os.O_CREAT | os.O_WRONLY)
"""
TROUBLED = (*OPENING, "vfs_open", "do_dentry_open", "security_inode_permission", "lookup_fast", "mnt_want_write")
POINTERS, NEVER = frozenset({"do_filp_open", "path_openat", "lookup_fast"}), frozenset[str]()


@dataclass(frozen=True)
class Trouble:
    """What happened to TROUBLE, by us and by the kernel's own probes: failures, and how often."""

    ours: dict[Any, int]
    theirs: Counter[Any]

    @classmethod
    def measure(cls, parent: Path) -> Trouble:
        """Run it in a new folder."""
        folder = Path(tempfile.mkdtemp(dir=parent))
        (folder / "made").write_text("")
        (folder / "made").chmod(0o600)
        program = [sys.executable, "-ISs", "-c", TROUBLE, str(folder)]
        with ReturnValues(*TROUBLED) as truth:
            ended = forked.run([*ERRORS, *TROUBLED, "--command-only", "--", *program])
        assert ended.returncode == 0, ended.stderr
        *groups, report = map(json.loads, ended.stdout.splitlines())
        ours = {(g["error"], tuple(g["path"]), g["end"], g["end_error"]): g["count"] for g in groups}
        theirs = failures(truth.calls[report["command"]["pid"]], pointers=POINTERS, never=NEVER)
        return cls(ours, theirs)


def test_every_failure_is_what_the_kernels_own_probes_say(tmp_path: Path) -> None:
    """Each one's error, path and end, and how often, from the values that all the functions returned."""
    trouble = Trouble.measure(tmp_path)
    assert trouble.theirs.total() >= 9
    assert len({path[-1] for _, path, _, _ in trouble.theirs}) >= 3, "several functions fail first"
    assert trouble.ours == dict(trouble.theirs)

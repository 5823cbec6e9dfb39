"""A forked child owns nothing of an attachment: not the links, and not the switch that lets the program act."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import multiprobe as mp

FUNCTIONS = ["vfs_statfs", "vfs_getattr_nosec", "vfs_llseek"]
ENABLED = Path("/sys/kernel/tracing/enabled_functions")

calls = mp.PerFunction(mp.u64)


@mp.program
def count(ctx):  # type: ignore[no-untyped-def]
    calls[ctx.function] += 1


def n_enabled() -> int:
    return len(ENABLED.read_text().splitlines())


def wait_for(n: int) -> int:
    """How many functions are patched, once it is `n`; or after a while."""
    deadline = time.monotonic() + 20
    while n_enabled() != n and time.monotonic() < deadline:
        time.sleep(0.05)
    return n_enabled()


def fork(work: Callable[[], object]) -> int:
    """Fork a child that does `work` and ends, whatever comes of it: status 0 if nothing was raised."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return child


def test_a_child_keeps_nothing_attached() -> None:
    read, write = os.pipe()
    attachment = mp.attach(count, FUNCTIONS)
    child = fork(lambda: (os.close(write), os.read(read, 1)))
    try:
        attachment.close()
        assert wait_for(0) == 0
    finally:
        os.close(write)
        os.close(read)
        os.waitpid(child, 0)


def use_up(attachment: mp.Attachment) -> None:
    assert attachment.is_closed
    attachment.close()
    for refused in (attachment.pause, attachment.resume, attachment.__enter__):
        with pytest.raises(mp.UsageError, match="was forked from"):
            refused()


def test_what_a_child_does_changes_nothing_of_the_parents() -> None:
    with mp.attach(count, FUNCTIONS) as attachment:
        child = fork(lambda: use_up(attachment))
        assert os.waitpid(child, 0)[1] == 0
        assert not attachment.is_closed
        before = sum(attachment.totals(calls))
        os.statvfs("/")
        assert sum(attachment.totals(calls)) > before


SCRIPT = f"""
import os, time
import multiprobe as mp
calls = mp.PerFunction(mp.u64)
@mp.program
def count(ctx):
    calls[ctx.function] += 1
attachment = mp.attach(count, {FUNCTIONS!r})
child = os.fork()
if child == 0:
    time.sleep(600)
    os._exit(0)
print(child, flush=True)
time.sleep(600)
"""


@pytest.mark.once("6.1")
def test_a_killed_parent_leaves_nothing_attached_while_its_child_lives(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            parent.kill()
            parent.wait()
            assert wait_for(0) == 0
        finally:
            os.kill(child, signal.SIGKILL)

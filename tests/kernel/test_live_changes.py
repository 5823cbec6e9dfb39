"""Functions dropped and added while attached, and an attachment that another process reads, on a real kernel."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from turns import at_home

import multiprobe as mp

calls = mp.PerFunction(mp.u64)
NAMES = ["__x64_sys_getpgid", "__x64_sys_getsid", "vfs_open"]
MECHANISMS = ("kprobe_multi", "tracing_multi", "trampoline", "kprobe")


@mp.program
def count(ctx):
    calls[ctx.function] += 1


@pytest.fixture(scope="module")
def kernel() -> mp.Kernel:
    return mp.Kernel()


def call(n: int) -> None:
    for _ in range(n):
        os.getpgid(0)
        os.getsid(0)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_dropped_and_added_again(kernel: mp.Kernel, mechanism: str) -> None:
    if not kernel.has(mechanism):
        pytest.skip(f"this kernel has no {mechanism}")
    with mp.attach(count, NAMES, mechanisms=mechanism, pid=os.getpid(), replaceable=True, kernel=kernel) as attachment:
        call(10)
        attachment.drop(["__x64_sys_getpgid"])
        call(10)
        assert list(attachment.totals(calls))[:2] == [10, 20]
        attachment.add(["__x64_sys_getpgid"])
        call(10)
        assert list(attachment.totals(calls))[:2] == [20, 30]
        assert not any(attachment.missed().values())


READER = """
import multiprobe as mp, sys
from test_live_changes import calls, count
with mp.Attachment.from_pins(sys.argv[1], count) as attachment:
    print(*attachment.totals(calls)[:2], attachment.report.links, len(attachment.functions))
    attachment.unpin(sys.argv[1])
"""


@pytest.mark.parametrize("mechanism", at_home(MECHANISMS))
def test_pinned_and_read_by_another_process(kernel: mp.Kernel, mechanism: str) -> None:
    if not kernel.has(mechanism):
        pytest.skip(f"this kernel has no {mechanism}")
    directory = f"/sys/fs/bpf/test-{mechanism}"
    attachment = mp.attach(count, NAMES, mechanisms=mechanism, pid=os.getpid(), kernel=kernel)
    n_links = attachment.report.links
    attachment.pin(directory)
    attachment.detach()
    call(7)
    environment = os.environ | {"PYTHONPATH": os.path.dirname(__file__)}
    done = subprocess.run(
        [sys.executable, "-c", READER, directory], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["7", "7", str(n_links), str(len(NAMES))]
    assert not os.path.exists(directory)

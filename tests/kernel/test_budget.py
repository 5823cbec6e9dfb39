"""Dropping functions while they are hit: exact counts of the others, frozen counts of the dropped ones, budget."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

import multiprobe as mp

calls = mp.PerFunction(mp.u64)
N = 60_000
HOT = "__x64_sys_umask"  # unlike getppid, it is in BTF everywhere
OTHERS = ["vfs_rename", "vfs_fallocate", "vfs_fsync_range"]


@mp.program
def count(ctx):
    calls[ctx.function] += 1


@pytest.fixture(scope="module")
def kernel() -> mp.Kernel:
    return mp.Kernel()


@pytest.fixture
def worker() -> Iterator[subprocess.Popen[str]]:
    """A process that calls umask N times for each line that it gets, and answers with one."""
    code = f"import os, sys\nfor line in sys.stdin:\n  for _ in range({N}): os.umask(18)\n  print('done', flush=True)\n"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        yield child
        child.communicate("")


def begin(worker: subprocess.Popen[str]) -> None:
    assert worker.stdin is not None
    worker.stdin.write("go\n")
    worker.stdin.flush()


def finish(worker: subprocess.Popen[str]) -> None:
    assert worker.stdout is not None
    assert worker.stdout.readline() == "done\n"


@pytest.mark.parametrize("mechanism", ["tracing_multi", "kprobe_multi", "trampoline", "kprobe"])
def test_no_call_is_lost_or_counted_twice_while_others_are_dropped(
    kernel: mp.Kernel, worker: subprocess.Popen[str], mechanism: str
) -> None:
    if not kernel.has(mechanism):
        pytest.skip(f"this kernel has no {mechanism}")
    functions = [HOT, *OTHERS]
    with mp.attach(
        count, functions, mechanisms=mechanism, pid=worker.pid, limits=mp.Limits(budget=0.999), kernel=kernel
    ) as attachment:
        assert attachment.report.attached == len(functions), attachment.report
        links = attachment._links
        begin(worker)
        for name in OTHERS:
            time.sleep(0.05)
            assert links.drop({functions.index(name)}) == {functions.index(name): ""}
        finish(worker)
        counted = [int(n) for n in attachment.totals(calls)]
        missed = attachment.missed()
        preempted = missed.pop("recursion_misses")  # on 7.3 a preempted program keeps others of that CPU from running
        assert counted[0] <= N <= counted[0] + preempted
        assert counted[1:] == [0, 0, 0]
        assert links.n_relinks == (len(OTHERS) if mechanism.endswith("multi") else 0)
        assert len(links.links) == 1
        assert not any(missed.values())


def test_the_hot_one_is_dropped_with_its_rate_and_its_count_stays(
    kernel: mp.Kernel, worker: subprocess.Popen[str]
) -> None:
    mechanism = "kprobe" if not kernel.has("kprobe_multi") else None
    with mp.attach(
        count, [HOT, "vfs_open"], mechanisms=mechanism, limits=mp.Limits(budget=0.0005), kernel=kernel
    ) as attachment:
        until = time.monotonic() + 60
        while not attachment.report.dropped and time.monotonic() < until:
            begin(worker)
            finish(worker)
        (drop,) = [drop for drop in attachment.report.dropped if drop.function == HOT]
        assert (drop.code, drop.rate > 100, drop.share > 0.0001) == ("budget", True, True)
        attachment._guard.stop()  # type: ignore[union-attr]
        stood = attachment.totals(calls)[0]
        begin(worker)
        finish(worker)
        os.close(os.open("/proc/self/status", os.O_RDONLY))
        assert attachment.totals(calls)[0] == stood
        if all(drop.function != "vfs_open" for drop in attachment.report.dropped):
            assert attachment.totals(calls)[1] > 0
        spending = attachment.report.budget
        assert spending["budget"] == 0.0005
        assert all(price["fixed"] > 0 for price in spending["ns_per_hit"].values())  # type: ignore[attr-defined]
    assert attachment.report.to_json()["dropped"][0]["function"] == drop.function  # type: ignore[index]

"""Values that the kernel keeps with tasks: exact for every thread, read while the threads run, gone with them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading

import pytest

import multiprobe as mp

calls = mp.PerTask(mp.u64)
nested = mp.PerTask(mp.i32)
deepest = mp.Array(mp.i64, 1)

TARGET = "__x64_sys_getsid"


@mp.program
def count(ctx):
    calls[ctx.task] += 1


@mp.program(when="session")
def follow(ctx):
    if ctx.is_return:
        nested[ctx.task] -= 1
        if not nested[ctx.task]:
            del nested[ctx.task]
    else:
        nested[ctx.task] += 1
        deepest[0] = nested[ctx.task]


def attach(program: mp.Program, mechanism: str) -> mp.Attachment:
    if not mp.Kernel().has(mechanism):
        pytest.skip(f"this kernel has no {mechanism}")
    return mp.attach(program, TARGET, mechanisms=mechanism)


MECHANISMS = ("kprobe_multi", "tracing_multi", "trampoline", "kprobe")


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_threads_have_values_of_their_own(mechanism: str) -> None:
    n_threads, barrier, tids = 4, threading.Barrier(5), {}

    def call(n: int) -> None:
        for _ in range(n):
            os.getsid(0)
        tids[threading.get_native_id()] = n
        barrier.wait()
        barrier.wait()

    with attach(count, mechanism) as attachment:
        threads = [threading.Thread(target=call, args=(100 * n,)) for n in range(1, n_threads + 1)]
        for thread in threads:
            thread.start()
        for _ in range(7):
            os.getsid(0)
        barrier.wait()
        opened = attachment.map(calls)
        found = opened.as_dict()
        unreadable = opened.unreadable
        barrier.wait()
        for thread in threads:
            thread.join()
        gone = opened.as_dict()
        assert attachment.missed()["full_maps"] == 0
    readable = {os.getpid(): 7, **tids} if has_thread_pidfds() else {os.getpid(): 7}
    assert {tid: found.get(tid) for tid in readable} == readable
    assert unreadable == 0 if has_thread_pidfds() else unreadable >= n_threads
    assert not gone.keys() & tids.keys()


def has_thread_pidfds() -> bool:
    """Whether the kernel opens pidfds of threads (Linux 6.9)."""
    ready, end = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: (ready.set(), end.wait()))
    thread.start()
    ready.wait()
    try:
        os.close(os.pidfd_open(thread.native_id or 0, os.O_EXCL))
    except OSError:
        return False
    finally:
        end.set()
        thread.join()
    return True


def test_a_process_takes_its_value_with_it() -> None:
    with attach(count, "kprobe") as attachment:
        body = "import os, sys; [os.getsid(0) for _ in range(50)]; print(flush=True); sys.stdin.read()"
        with subprocess.Popen([sys.executable, "-c", body], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            opened = attachment.map(calls)
            during = opened.get(child.pid)
            child.communicate()
        assert (during, opened.get(child.pid)) == (50, None)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_what_is_deleted_is_0_again(mechanism: str) -> None:
    with attach(follow, mechanism) as attachment:
        for _ in range(3):
            os.getsid(0)
        assert list(attachment.totals(deepest)) == [1]
        assert attachment.map(nested).get(os.getpid()) is None
        with contextlib.suppress(mp.UsageError):
            attachment.read(nested)
            pytest.fail("a PerTask is read by its map")

"""Threads that the kernel refuses to start are an error of ours, and none is left waiting."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from multiprobe import threads
from multiprobe.errors import KernelError


def test_so_many_threads_can_run() -> None:
    before = threading.active_count()
    threads.require(4, "a test")
    assert threading.active_count() == before


def test_the_last_of_them_can_not(monkeypatch: pytest.MonkeyPatch) -> None:
    before, real, n = threading.active_count(), threading.Thread.start, []

    def start(thread: threading.Thread) -> None:
        n.append(thread)
        if len(n) == 4:
            raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(KernelError, match=r"a test.*EAGAIN"):
        threads.require(4, "a test")
    assert threading.active_count() == before


#: Address space, in kB, that a fork is given beyond its own: too little for a stack, enough for one, for two.
SPARE = [*range(8_160, 8_240, 4), *range(9_216, 9_280, 16), *range(16_384, 16_464, 8)]


def test_nobody_waits_for_a_thread_that_has_no_memory_to_begin() -> None:
    code = """
import os, resource, signal, sys, threading
from multiprobe import threads
from multiprobe.errors import KernelError
n_pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_STACK, (8 << 20, resource.RLIM_INFINITY))
for spare in map(int, sys.argv[1:]):
    if child := os.fork():
        _, status = os.waitpid(child, 0)
        print(spare, status)
        continue
    signal.alarm(60)
    limit = n_pages * resource.getpagesize() + (spare << 10)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        for _ in range(4):
            threads.start(threading.Thread(target=threading.Event().wait, daemon=True), "a test")
    except KernelError:
        os._exit(0)
    os._exit(1)
"""
    ended = subprocess.run([sys.executable, "-c", code, *map(str, SPARE)], capture_output=True, text=True, check=True)
    assert ended.stdout.split("\n")[:-1] == [f"{spare} 0" for spare in SPARE]


class RungError(Exception):
    pass


@pytest.fixture
def ring() -> Iterator[Callable[[], None]]:
    """Send this thread a signal, whose handler raises."""

    def raise_(*_: object) -> None:
        raise RungError

    before = signal.signal(signal.SIGUSR2, raise_)
    yield lambda: signal.raise_signal(signal.SIGUSR2)
    signal.signal(signal.SIGUSR2, before)


def test_a_signal_does_not_cut_work_off(ring: Callable[[], None]) -> None:
    done: list[int] = []

    def work() -> None:
        for n in range(5):
            if n == 2 and done.count(0) == 1:
                ring()
            done.append(n)

    with pytest.raises(RungError):
        threads.uninterrupted(work)
    assert done == [0, 1, 0, 1, 2, 3, 4]


def test_what_the_work_raises_each_time_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        threads.uninterrupted(lambda: 1 // 0)

"""Threads that the kernel refuses to start are an error of ours, and none is left waiting."""

from __future__ import annotations

import subprocess
import sys
import threading

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

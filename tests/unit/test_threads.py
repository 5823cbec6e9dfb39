"""Threads that the kernel refuses to start are an error of ours, and none is left waiting."""

from __future__ import annotations

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

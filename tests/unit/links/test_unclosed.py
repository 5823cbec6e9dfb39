"""An attachment that nobody closes is collected and detached, with a ResourceWarning, whatever threads watch it."""

from __future__ import annotations

import errno
import gc
import threading
import time
from pathlib import Path

import pytest

import multiprobe as mp
from fake_kernel import LIKE_7_3, FakeKernel
from multiprobe.maps.store import MapSet

calls = mp.PerFunction(mp.u64)


@mp.program
def count(ctx):
    calls[ctx.function] += 1


LIMITS = [
    mp.Limits(),
    mp.Limits(budget=0.05),
    mp.Limits(careful=True),
    mp.Limits(watchdog=10),
    mp.Limits(budget=0.05, watchdog=10),
]


@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_an_unclosed_attachment_is_detached(tmp_path: Path, limits: mp.Limits) -> None:
    n_threads = threading.active_count()
    with FakeKernel(tmp_path, LIKE_7_3) as fake:
        made = [mp.attach(count, "tcp_sendmsg", limits=limits)]
        assert fake.left() != []
        with pytest.warns(ResourceWarning, match="unclosed <Attachment of count: 1 function in 1 link>"):
            made.clear()
        gc.collect()
        assert fake.left() == []
    assert threading.active_count() == n_threads


def test_a_closed_attachment_is_collected_in_silence(tmp_path: Path) -> None:
    with FakeKernel(tmp_path, LIKE_7_3):
        attachment = mp.attach(count, "tcp_sendmsg", limits=mp.Limits(budget=0.05))
        attachment.close()
        del attachment
        gc.collect()


@pytest.mark.parametrize("limits", LIMITS[1:], ids=str)
@pytest.mark.parametrize("n_allowed", [0, 1, 2])
def test_a_thread_that_can_not_be_started_is_an_error_of_ours(
    tmp_path: Path, limits: mp.Limits, n_allowed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = threading.Thread.start, [n_allowed]

    def start(thread: threading.Thread) -> None:
        if not left[0]:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    before = set(threading.enumerate())
    with FakeKernel(tmp_path, LIKE_7_3) as fake:
        error = None
        try:
            mp.attach(count, "tcp_sendmsg", limits=limits).detach()
        except mp.KernelError as refused:
            error = refused
        assert error is not None or n_allowed > 0 or limits.careful
        assert error is None or (error.errno, error.operation) == (errno.EAGAIN, "starting a thread")
        assert error is None or "ulimit -u" in error.hint
        assert fake.left() == []
        for thread in set(threading.enumerate()) - before:
            thread.join(5)
    assert set(threading.enumerate()) <= before


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_no_thread_uses_the_maps_of_an_attachment_that_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watchdog's thread starts its process a moment after attaching, which may be while the maps are closed."""
    before = set(threading.enumerate())
    real, waits = MapSet.close, []

    def close_late(store: MapSet) -> None:
        real(store)
        end = time.monotonic() + 20
        while set(threading.enumerate()) - before - {threading.current_thread()} and time.monotonic() < end:
            waits.append("a thread is left")
            time.sleep(0.01)

    monkeypatch.setattr("multiprobe.links.guard.watchdog._FIRST_WAIT", 0.3)
    monkeypatch.setattr(MapSet, "close", close_late)
    with FakeKernel(tmp_path, LIKE_7_3):
        mp.attach(count, "tcp_sendmsg", limits=mp.Limits(budget=0.05, watchdog=10)).detach()
    assert waits == []

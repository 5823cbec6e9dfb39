"""Work in several threads that Ctrl-C cuts off: no thread goes on with it."""

from __future__ import annotations

import threading
import time
from threading import Event, Thread

import pytest

from multiprobe.links.mechanisms.parallel import close_all, in_parallel


@pytest.mark.parametrize("after", [0, 1])
def test_interrupted_while_a_thread_is_started(after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that began before that ends its present item first: what it opens is seen by the caller."""
    real, left, has_begun = Thread.start, [after], Event()
    done: list[int] = []

    def start(thread: Thread) -> None:
        real(thread)
        if left[0] == 0:
            assert has_begun.wait(10)
            raise KeyboardInterrupt
        left[0] -= 1

    def work(item: int) -> None:
        has_begun.set()
        time.sleep(0.05)
        done.append(item)

    monkeypatch.setattr(Thread, "start", start)
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        in_parallel(work, range(100), n_threads=4)
    assert threading.active_count() == before
    n = len(done)
    time.sleep(0.1)
    assert 1 <= len(done) == n < 100


class Owner:
    def __init__(self) -> None:
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("n", [1, 3, 4, 50])
def test_all_are_closed_where_no_thread_can_be_started(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Thread, "start", refuse)
    owners = [Owner() for _ in range(n)]
    close_all(owners)
    assert all(one.is_closed for one in owners)

"""Process ids: of processes, of threads, of nothing."""

from __future__ import annotations

import os
import threading

import pytest

from multiprobe.errors import UsageError
from multiprobe.kernel.tasks import require_process


def test_a_process_is_accepted() -> None:
    require_process(os.getpid())


def test_a_thread_is_named_with_its_process() -> None:
    numbers: list[int] = []
    is_known, may_end = threading.Event(), threading.Event()

    def run() -> None:
        numbers.append(threading.get_native_id())
        is_known.set()
        may_end.wait()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        is_known.wait()
        with pytest.raises(UsageError) as caught:
            require_process(numbers[0])
    finally:
        may_end.set()
        thread.join()
    assert str(caught.value) == f"{numbers[0]} is a thread of process {os.getpid()}"
    assert str(os.getpid()) in caught.value.hint


@pytest.mark.parametrize("pid", [0, -1, True, "1", None, 1.0])
def test_what_is_no_process_id(pid: object) -> None:
    with pytest.raises(UsageError, match="expected the id of a process"):
        require_process(pid)  # type: ignore[arg-type]


def test_a_process_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="no process has the id 4194305"):
        require_process(4194305)

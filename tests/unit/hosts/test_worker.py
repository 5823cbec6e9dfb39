"""What a worker does for a fleet, without Dask: a process of its own, whatever happens to it."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

import multiprobe
from multiprobe.errors import NotSupportedError, UsageError
from multiprobe.hosts import worker
from multiprobe.hosts.worker import Ending

LINE = ("count", "vfs_read")


@pytest.fixture(autouse=True)
def tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_JOBS", {})
    monkeypatch.setattr(worker, "_STOPPED", set())
    monkeypatch.setattr(worker, "_TASKS", set())


def playing(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """The command line is this program of Python instead; `sys.argv` is what multiprobe would get."""
    monkeypatch.setattr(worker, "PROGRAM", (sys.executable, "-c", program))


def ending(*, token: str = "t", version: str = multiprobe.__version__) -> Ending:
    async def measure() -> Ending:
        await worker.begin(token, LINE, version)
        await asyncio.gather(*worker._TASKS)
        found = worker.look(token)
        assert found is not None
        return found

    return asyncio.run(measure())


def test_the_file_is_collected_once(monkeypatch: pytest.MonkeyPatch) -> None:
    playing(monkeypatch, "import sys; assert sys.argv[1:] == ['count', '--save', sys.argv[3], 'vfs_read']; "
            "open(sys.argv[3], 'wb').write(b'run')")  # fmt: skip
    assert ending() == Ending(0, "")
    assert worker.collect("t") == b"run"
    assert worker.collect("t") == b""


def test_the_last_error_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    playing(
        monkeypatch, "import sys; sys.stderr.write('note: x\\nmultiprobe: not permitted\\n  hint: y\\n'); sys.exit(4)"
    )
    assert ending() == Ending(4, "not permitted")


def test_what_is_to_end_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    playing(monkeypatch, "import time; time.sleep(1000)")
    worker.stop("t", worker.END)
    assert ending() == Ending(-signal.SIGTERM, "", is_early=True)
    assert worker._JOBS == {}


@pytest.mark.parametrize(
    ("after", "is_early"),
    [("", True), ("open(sys.argv[3], 'wb').write(b'run'); ", False)],  # it was attached, and saves a run
)
def test_an_end_before_there_is_a_run(after: str, is_early: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    playing(monkeypatch, f"import sys, time; {after}print('x', file=sys.stderr, flush=True); time.sleep(1000)")

    async def stop_later() -> Ending | None:
        await worker.begin("t", LINE, multiprobe.__version__)
        assert worker.look("t") is None
        while not Path(worker._JOBS["t"]._directory.name, "stderr").read_bytes():
            await asyncio.sleep(0.01)
        worker.stop("t", worker.END)
        await asyncio.gather(*worker._TASKS)
        return worker.look("t")

    assert asyncio.run(stop_later()) == Ending(-signal.SIGTERM, "x", is_early)


def test_a_signal_of_another_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    playing(monkeypatch, "import os; os.kill(os.getpid(), 15)")
    assert ending() == Ending(-signal.SIGTERM, "", is_early=False)


def test_what_was_not_begun() -> None:
    with pytest.raises(LookupError, match="knows of no such measurement"):
        worker.look("t")


def test_a_program_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "PROGRAM", ("/no/such/program",))
    with pytest.raises(FileNotFoundError):
        ending()
    assert worker._JOBS == {}


def test_what_nobody_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    playing(monkeypatch, "import time; time.sleep(1000)")
    monkeypatch.setattr(worker, "PATIENCE", 0.5)
    assert ending().status == -signal.SIGTERM


def test_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotSupportedError, match=r"the client 0\.0\.1"):
        ending(version="0.0.1")
    with pytest.raises(UsageError, match="'run' is not a command that measures"):
        asyncio.run(worker.begin("t", ("run", "script.py"), multiprobe.__version__))

"""What a worker does for a fleet, without Dask: a process of its own, whatever happens to it."""

from __future__ import annotations

import asyncio
import signal
import sys

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


def playing(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """The command line is this program of Python instead; `sys.argv` is what multiprobe would get."""
    monkeypatch.setattr(worker, "PROGRAM", (sys.executable, "-c", program))


def ending(*, token: str = "t", version: str = multiprobe.__version__) -> Ending:
    return asyncio.run(worker.measure(token, LINE, version))


def test_the_file_is_collected_once(monkeypatch: pytest.MonkeyPatch) -> None:
    playing(monkeypatch, "import sys; assert sys.argv[1:] == ['count', '--save', sys.argv[3], 'vfs_read']; "
            "open(sys.argv[3], 'wb').write(b'run')")  # fmt: skip
    assert ending() == Ending(0, "")
    assert not worker.look("t")
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
    assert ending().status == -signal.SIGTERM


def test_what_nobody_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    playing(monkeypatch, "import time; time.sleep(1000)")
    monkeypatch.setattr(worker, "PATIENCE", 0.0)
    assert ending().status == -signal.SIGTERM


def test_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotSupportedError, match=r"the client 0\.0\.1"):
        ending(version="0.0.1")
    with pytest.raises(UsageError, match="'run' is not a command that measures"):
        asyncio.run(worker.measure("t", ("run", "script.py"), multiprobe.__version__))

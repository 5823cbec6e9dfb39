"""What a Dask worker does for a fleet: it runs multiprobe's own command line, in a process of its own.

`hosts.fleet` names these functions, and each worker imports them from the multiprobe that it has: no code travels. The
process ends when the worker does, and when nobody has asked for it for PATIENCE seconds.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import multiprobe
from multiprobe.errors import NotSupportedError
from multiprobe.hosts.line import require_measuring, with_file
from multiprobe.runs.host import Host, this_host
from multiprobe.syscalls.namespaces import set_parent_death_signal

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = (sys.executable, "-m", "multiprobe")
PATIENCE = 400.0
"""Seconds after which a measurement ends that nobody asks for. Longer than a client waits for hosts that hang."""
END = signal.SIGTERM
"""The signal that ends a measurement with results: SIGINT is ignored by what a shell starts in the background."""
_LAST = 4096
"""Bytes of standard error that are looked at for the reason of a failure."""


@dataclass(frozen=True, slots=True)
class Introduction:
    """A worker: the version of its multiprobe, its host, and whether it is root there."""

    version: str
    host: Host
    is_root: bool


@dataclass(frozen=True, slots=True)
class Ending:
    """How a measurement ended.

    status: its exit status (negative: the signal that killed it); message: what it said of a failure
    is_early: END came before its functions were attached
    """

    status: int
    message: str
    is_early: bool = False


class Job:
    """A measurement on this worker. `ending`: how it ended, and `run`: the bytes of its saved run, once it has."""

    def __init__(self, process: asyncio.subprocess.Process, directory: TemporaryDirectory[str]) -> None:
        self.process, self._directory = process, directory
        self.asked = time.monotonic()
        self.ending: Ending | None = None
        self.run = b""
        self._is_stopped = False

    @classmethod
    async def start(cls, line: Sequence[str]) -> Job:
        """Start the command line; its files are in a directory of its own."""
        with ExitStack() as cleanup:
            directory = TemporaryDirectory(prefix="multiprobe-")
            cleanup.callback(directory.cleanup)
            with open(Path(directory.name, "stderr"), "wb") as stderr:
                process = await asyncio.create_subprocess_exec(
                    *PROGRAM,
                    *with_file(line, str(Path(directory.name, "run.jsonl.gz"))),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=stderr,
                    preexec_fn=partial(set_parent_death_signal, END),
                )
            cleanup.pop_all()
        return cls(process, directory)

    async def wait(self) -> None:
        """Wait for its end; interrupt it when nobody asks any more."""
        with self._directory as directory:
            ended = asyncio.ensure_future(self.process.wait())
            try:
                while not (await asyncio.wait([ended], timeout=1.0))[0]:
                    if time.monotonic() - self.asked > PATIENCE:
                        self.stop(END)
            finally:
                self.stop(END)
            try:
                self.ending = self._read(Path(directory), ended.result())
            except OSError as error:
                self.ending = Ending(1, str(error))

    def _read(self, directory: Path, status: int) -> Ending:
        if (file := directory / "run.jsonl.gz").exists():
            self.run = file.read_bytes()
        message = _reason((directory / "stderr").read_bytes()[-_LAST:])
        return Ending(status, message, self._is_stopped and status == -END and not self.run)

    def stop(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.process.returncode is None:
            self._is_stopped = True
            self.process.send_signal(number)


_JOBS: dict[str, Job] = {}
"""The measurements of this worker, by token: each from its start until it was collected."""
_TASKS: set[asyncio.Task[None]] = set()
"""What waits for the ends of these measurements."""
_STOPPED: set[str] = set()
"""Measurements that were to end before they had begun."""


def introduce() -> Introduction:
    """What the client must know of a worker before it asks for more."""
    return Introduction(multiprobe.__version__, this_host(), os.geteuid() == 0)


async def begin(token: str, line: Sequence[str], version: str) -> None:
    """Begin to measure by a command line, unless it is to end already.

    Raises UsageError for a line that does not measure, NotSupportedError for a client of another version.
    """
    if version != multiprobe.__version__:
        raise NotSupportedError(f"it has multiprobe {multiprobe.__version__}, and the client {version}")
    require_measuring(line)
    if token in _STOPPED:
        return
    job = _JOBS[token] = await Job.start(line)
    if token in _STOPPED:
        job.stop(END)
    task = asyncio.create_task(_finish(token, job))
    _TASKS.add(task)
    task.add_done_callback(_TASKS.discard)


async def _finish(token: str, job: Job) -> None:
    await job.wait()
    asyncio.get_running_loop().call_later(PATIENCE, _JOBS.pop, token, None)


def look(token: str) -> Ending | None:
    """How a measurement ended; None while it runs. It goes on only for as long as this is asked.

    Raises LookupError if none was begun here.
    """
    job = _JOBS.get(token)
    if job is None and token in _STOPPED:
        return Ending(-END, "", is_early=True)
    if job is None:
        raise LookupError("it knows of no such measurement")
    job.asked = time.monotonic()
    return job.ending


def stop(token: str, number: int) -> None:
    """Send a signal to a measurement: END ends it with results."""
    if token in _JOBS:
        _JOBS[token].stop(number)
    else:
        _STOPPED.add(token)


def collect(token: str) -> bytes:
    """The saved run of a measurement that has ended, compressed by gzip; b"" if there is none."""
    job = _JOBS.pop(token, None)
    return b"" if job is None else job.run


def _reason(stderr: bytes) -> str:
    """What multiprobe said last of an error, in one line without its hint."""
    lines = stderr.decode(errors="surrogateescape").splitlines()
    said = [line.removeprefix("multiprobe: ") for line in lines if line.startswith("multiprobe: ")]
    return said[-1] if said else "".join(lines[-1:])

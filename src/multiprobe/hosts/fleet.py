"""`fleet`: asks the workers of a Dask scheduler for the same measurement, each host once."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import multiprobe
from multiprobe.cachedir import path_of
from multiprobe.errors import DataError, MultiprobeError
from multiprobe.hosts import worker
from multiprobe.hosts.connecting import Client, connected
from multiprobe.hosts.line import require_measuring
from multiprobe.hosts.outcome import Fleet, FleetHost
from multiprobe.hosts.worker import Ending, Introduction
from multiprobe.runs.reading import RunReader
from multiprobe.runs.saving import replacing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    OnProgress = Callable[[Mapping[str, str]], object]

EVERY = 2.0
"""Seconds between two looks at all hosts."""
ANSWERING = 30.0
"""Seconds after which a host that does not answer is lost."""
SENDING = 300.0
"""The same while a host sends its run."""
AT_ONCE = 50
"""Hosts whose runs are in memory at the same time."""
ASKED_AT_ONCE = 200
"""Hosts that are asked at the same time: a connection to the scheduler for each, of which Dask makes up to 512."""


def fleet(
    line: Sequence[str],
    *,
    scheduler: str | Client,
    save: str | os.PathLike[str],
    on_progress: OnProgress | None = None,
) -> Fleet:
    """Measure on all hosts that have a worker of a Dask scheduler, each host once, and save each host's run.

    line: a measuring command with its patterns and options: ["count", "vfs_*", "--duration", "10"]
    scheduler: its address ("tcp://…", "tls://…"), or a `distributed.Client`; TLS as Dask's configuration has it
    save: a directory for the saved runs, which is made
    on_progress: called every 2 seconds with the state of each host, "measuring", "ended" or "lost", by its name (and
        its worker's address, where several have the name)
    Workers need the same version of multiprobe, and its rights: of several on a host, one that is root is asked. The
    first KeyboardInterrupt ends the measurement on all hosts, with results; a second one kills it there. A host that
    does not answer for 30 seconds is lost.
    Raises UsageError for a line that does not measure; MultiprobeError without a scheduler or without workers;
    NotSupportedError without `distributed`; OSError.
    """
    require_measuring(line)
    directory = path_of(save)
    os.makedirs(directory, exist_ok=True)
    with connected(scheduler) as client:
        ask = _Asking(client)
        chosen, refused = _choose(ask.introductions())
        measured = _Measuring(ask, chosen, tuple(line), on_progress).run()
        hosts = list(_collect(ask, measured, line[0], directory))
    return Fleet(tuple(line), tuple(sorted([*hosts, *refused], key=lambda host: (host.name, host.worker))))


class _Asking:
    """Asks workers of a client; a worker that can't answer is answered for by an exception."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.token = uuid.uuid4().hex

    def __call__(
        self, function: Callable[..., object], *arguments: object, of: Sequence[str], within: float | None = None
    ) -> dict[str, object]:
        """The answers of workers, by address. Those that the scheduler knows no more aren't waited for, and others
        for a bounded time (in seconds)."""
        known = self._client.nthreads()
        there = [address for address in of if address in known]
        gone = {address: ConnectionError("the scheduler has lost it") for address in of if address not in known}
        if not there:
            return dict(gone)
        return gone | self._client.sync(self._ask_each, partial(self._client.run, function, *arguments), there, within)

    async def _ask_each(
        self, run: Callable[..., Awaitable[dict[str, object]]], addresses: Sequence[str], within: float | None
    ) -> dict[str, object]:
        """Ask each worker by a message of its own: Dask answers a message to several when the last one has answered."""
        seconds = ANSWERING if within is None else within
        free = asyncio.Semaphore(ASKED_AT_ONCE)

        async def ask(address: str) -> object:
            async with free:
                try:
                    answers = await asyncio.wait_for(run(workers=[address], on_error="return"), seconds)
                except TimeoutError:
                    return TimeoutError(f"no answer for {seconds:g} seconds")
                except OSError as error:
                    return error
                return answers[address]

        return dict(zip(addresses, await asyncio.gather(*map(ask, addresses)), strict=True))

    def introductions(self) -> dict[str, object]:
        """All workers. Raises MultiprobeError if there are none."""
        workers = list(self._client.nthreads())
        if not workers:
            raise MultiprobeError(
                "the scheduler has no workers", hint="start one on each host, as root: `dask worker ADDRESS`"
            )
        return self(worker.introduce, of=workers)


def _choose(found: Mapping[str, object]) -> tuple[list[FleetHost], list[FleetHost]]:
    """A worker of each host, one that is root if there is one; and the hosts that are refused."""
    by_host: dict[object, tuple[str, Introduction]] = {}
    refused: list[FleetHost] = []
    for address, answer in sorted(found.items(), key=_suitability):
        if not isinstance(answer, Introduction):
            refused.append(FleetHost(None, address, "refused", _no_introduction(answer)))
        else:
            by_host.setdefault(answer.host.boot_id or answer.host.identity, (address, answer))
    chosen = []
    for address, answer in by_host.values():
        if answer.version == multiprobe.__version__:
            chosen.append(FleetHost(answer.host, address, "measuring"))
        else:
            reason = f"it has multiprobe {answer.version}, not {multiprobe.__version__}"
            refused.append(FleetHost(answer.host, address, "refused", reason))
    return chosen, refused


def _suitability(item: tuple[str, object]) -> tuple[bool, bool]:
    """The order in which the workers of a host are chosen: those that can measure come first."""
    _, answer = item
    is_same = isinstance(answer, Introduction) and answer.version == multiprobe.__version__
    return not is_same, not (isinstance(answer, Introduction) and answer.is_root)


def _no_introduction(error: object) -> str:
    if isinstance(error, ImportError | AttributeError):
        return f"multiprobe is not installed, or of another version: {error}"
    return _lost(error)


def _lost(error: object) -> str:
    return f"it does not answer: {type(error).__name__}: {str(error)[:200]}"


class _Measuring:
    """A measurement on hosts, from its beginning to the end on each of them."""

    def __init__(
        self, ask: _Asking, hosts: Sequence[FleetHost], line: tuple[str, ...], on_progress: OnProgress | None
    ) -> None:
        self._ask, self._hosts, self._line, self._on_progress = ask, hosts, line, on_progress
        often = Counter(host.name for host in hosts)
        self._names = {
            host.worker: host.name if often[host.name] == 1 else f"{host.name} ({host.worker})" for host in hosts
        }
        self._endings: dict[str, object] = {}

    def run(self) -> list[FleetHost]:
        """Measure. Returns the hosts with how it ended there. The first interrupt ends it, the second one kills it."""
        signals = [worker.END, signal.SIGKILL]
        step = self._begin
        while True:
            try:
                step()
                return [_ended(host, self._endings[host.worker]) for host in self._hosts]
            except KeyboardInterrupt:
                if not signals:
                    raise
                step = partial(self._stop, signals.pop(0))

    def _begin(self) -> None:
        answers = self._ask(worker.begin, self._ask.token, self._line, multiprobe.__version__, of=self._running)
        self._endings |= {address: answer for address, answer in answers.items() if answer is not None}
        self._wait()

    def _stop(self, number: int) -> None:
        self._ask(worker.stop, self._ask.token, number, of=self._running)
        if number == signal.SIGKILL:
            raise KeyboardInterrupt
        self._wait()

    def _wait(self) -> None:
        """Look at all hosts, again and again, until it has ended on each."""
        while running := self._running:
            time.sleep(EVERY)
            answers = self._ask(worker.look, self._ask.token, of=running)
            self._endings |= {address: answer for address, answer in answers.items() if answer is not None}
            if self._on_progress is not None:
                self._on_progress({name: self._state(address) for address, name in self._names.items()})

    @property
    def _running(self) -> list[str]:
        return [address for address in self._names if address not in self._endings]

    def _state(self, address: str) -> str:
        if address not in self._endings:
            return "measuring"
        return "ended" if isinstance(self._endings[address], Ending) else "lost"


def _ended(host: FleetHost, answer: object) -> FleetHost:
    if not isinstance(answer, Ending):
        is_ours = isinstance(answer, MultiprobeError)
        return replace(host, state="refused" if is_ours else "lost", reason=str(answer) if is_ours else _lost(answer))
    if answer.status == 0:
        return replace(host, state="measured")
    if answer.is_early:
        return replace(host, state="interrupted", reason="it was ended before it was attached")
    how = f"signal {-answer.status}" if answer.status < 0 else f"exit status {answer.status}"
    return replace(host, state="failed", reason=f"{answer.message or 'the command failed'} ({how})")


def _collect(ask: _Asking, hosts: Sequence[FleetHost], command: str, directory: str) -> Iterator[FleetHost]:
    """Save the runs of all hosts, also of those that failed late; some hosts at a time."""
    taken: set[str] = set()
    for start in range(0, len(hosts), AT_ONCE):
        some = hosts[start : start + AT_ONCE]
        ended = [host.worker for host in some if host.state in ("measured", "failed")]
        answers = ask(worker.collect, ask.token, of=ended, within=SENDING)
        for host in some:
            path = os.path.join(directory, _file_name(host, ask.token, taken))
            yield _saved(host, answers.get(host.worker, b""), command, path)


def _file_name(host: FleetHost, token: str, taken: set[str]) -> str:
    """A name of its own for the run of a host, whose name may be anything."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", host.name)[:100].lstrip(".") or "host"
    name = next(name for n in range(1, len(taken) + 2) if (name := f"{safe}-{n}" if n > 1 else safe) not in taken)
    taken.add(name)
    return f"{name}-{token[:8]}.jsonl.gz"


def _saved(host: FleetHost, answer: object, command: str, path: str) -> FleetHost:
    if not isinstance(answer, bytes):
        return replace(host, state="lost", reason=_lost(answer))
    if not answer:
        return replace(host, state="failed", reason="it saved no run") if host.state == "measured" else host
    with replacing(path) as file:
        file.write(answer)
    try:
        with RunReader(path) as reader:
            if reader.info.command != command:
                raise DataError(f"it is a run of {reader.info.command[:50]}")
    except DataError as error:
        os.unlink(path)
        return replace(host, state="failed", reason=f"its answer can't be used: {error}")
    return replace(host, path=path)

"""`fleet`: asks the workers of a Dask scheduler for the same measurement, each host once."""

from __future__ import annotations

import os
import re
import signal
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYetError
from dataclasses import replace
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
    from collections.abc import Callable, Mapping, Sequence

    OnProgress = Callable[[Mapping[str, str]], object]

EVERY = 2.0
"""Seconds between two looks at all hosts."""
AT_ONCE = 50
"""Hosts whose runs are in memory at the same time."""


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
    first KeyboardInterrupt ends the measurement on all hosts, with results; a second one kills it there.
    Raises UsageError for a line that does not measure; MultiprobeError without a scheduler or without workers;
    NotSupportedError without `distributed`; OSError.
    """
    require_measuring(line)
    directory = path_of(save)
    os.makedirs(directory, exist_ok=True)
    with connected(scheduler) as client:
        ask = _Asking(client)
        chosen, refused = _choose(ask.introductions())
        measured = _measure(ask, chosen, tuple(line), on_progress)
        hosts = list(_collect(ask, measured, line[0], directory))
    return Fleet(tuple(line), tuple(sorted([*hosts, *refused], key=lambda host: (host.name, host.worker))))


class _Asking:
    """Asks workers of a client; a worker that can't answer is answered for by an exception."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.token = uuid.uuid4().hex

    def __call__(self, function: Callable[..., object], *arguments: object, of: Sequence[str]) -> dict[str, object]:
        """The answers of workers, by address. Those that the scheduler knows no more aren't waited for."""
        known = self._client.nthreads()
        there = [address for address in of if address in known]
        gone = {address: ConnectionError("the scheduler has lost it") for address in of if address not in known}
        if not there:
            return dict(gone)
        return gone | self._client.run(function, *arguments, workers=there, on_error="return")

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


def _measure(
    ask: _Asking, hosts: Sequence[FleetHost], line: tuple[str, ...], on_progress: OnProgress | None
) -> list[FleetHost]:
    """Measure on the hosts. Returns them with how it ended there."""
    addresses = [host.worker for host in hosts]
    often = Counter(host.name for host in hosts)
    names = {host.worker: host.name if often[host.name] == 1 else f"{host.name} ({host.worker})" for host in hosts}
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(ask, worker.measure, ask.token, line, multiprobe.__version__, of=addresses)

        def look() -> None:
            found = ask(worker.look, ask.token, of=addresses)
            if on_progress is not None:
                on_progress({names[address]: _STATES.get(answer, "lost") for address, answer in found.items()})

        endings = _wait(running, look, lambda number: ask(worker.stop, ask.token, number, of=addresses))
    return [_ended(host, endings.get(host.worker)) for host in hosts]


_STATES: dict[object, str] = {True: "measuring", False: "ended"}


def _wait(
    running: Future[dict[str, object]], look: Callable[[], None], stop: Callable[[int], object]
) -> dict[str, object]:
    """Wait for all hosts. The first interrupt ends the measurement, the second one kills it."""
    is_interrupted = False
    while True:
        try:
            try:
                return running.result(timeout=EVERY)
            except NotYetError:
                look()
        except KeyboardInterrupt:
            stop(signal.SIGKILL if is_interrupted else worker.END)
            if is_interrupted:
                raise
            is_interrupted = True


def _ended(host: FleetHost, answer: object) -> FleetHost:
    if not isinstance(answer, Ending):
        is_ours = isinstance(answer, MultiprobeError)
        return replace(host, state="refused" if is_ours else "lost", reason=str(answer) if is_ours else _lost(answer))
    if answer.status == 0:
        return replace(host, state="measured")
    how = f"signal {-answer.status}" if answer.status < 0 else f"exit status {answer.status}"
    return replace(host, state="failed", reason=f"{answer.message or 'the command failed'} ({how})")


def _collect(ask: _Asking, hosts: Sequence[FleetHost], command: str, directory: str) -> Iterator[FleetHost]:
    """Save the runs of all hosts, also of those that failed late; some hosts at a time."""
    taken: set[str] = set()
    for start in range(0, len(hosts), AT_ONCE):
        some = hosts[start : start + AT_ONCE]
        ended = [host.worker for host in some if host.state in ("measured", "failed")]
        answers = ask(worker.collect, ask.token, of=ended)
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

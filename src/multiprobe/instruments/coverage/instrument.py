"""Notes which functions ran: the instrument, which measures several runs of a command one after another.

The programs are in `coverage.program`, the result is in `coverage.covered`.
"""

from __future__ import annotations

import time
from dataclasses import replace
from select import POLLIN, poll
from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.binaries.mixed import kernel_part
from multiprobe.errors import MultiprobeError, UsageError
from multiprobe.instruments.coverage import program
from multiprobe.instruments.coverage.covered import CheckedCapability, Coverage, CoveredFunction, FirstHit
from multiprobe.instruments.instrument import AttachOptions, Instrument
from multiprobe.instruments.workload import Workload
from multiprobe.kernel.capabilities import capability_name
from multiprobe.links.guard.limits import Limits
from multiprobe.links.plan.request import choose

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Unpack

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.links.attachment import Attachment
    from multiprobe.links.plan.request import Functions

EVERY = 0.1
"""Seconds between two reads of the ring buffer."""
_SETTLE = 0.02
"""Seconds that an ended process is given for its last calls, after it can be waited for."""
RELEASE_AFTER = 1.0
"""Seconds after which functions that have run are detached, and between two times that this is done."""
RELEASE_SHARE = 0.05
"""Detaching may take so much of the time: where it takes long, it is done less often."""


class CoverageCollector(Instrument[Coverage]):
    """A running measurement of coverage, run by run.

    `checks` is the attachment that counts capabilities, if there is one. `poll` must be called often enough that the
    ring buffer doesn't fill up: of what it drops, only the first calls are unknown. It detaches functions once they are
    known to have run: from then on a call of them costs nothing.
    """

    def __init__(self, attachment: Attachment, checks: Attachment | None) -> None:
        super().__init__(attachment)
        self._checks = checks
        self._n_ended = 0
        self._is_open = True
        self._run_began = time.monotonic_ns()
        self._n_runs = [0] * len(attachment.functions)
        self._first: dict[int, FirstHit] = {}
        self._told: set[int] = set()
        self._release_due = time.monotonic() + RELEASE_AFTER

    def begin_run(self, pid: int | None = None) -> None:
        """Begin a run, and forget what was called since the last one ended.

        pid: a process to measure with its children, beside the one that was given to `start`
        Raises UsageError if the attachment measures no process.
        """
        for attachment in self._attachments():
            attachment.pause()
            if pid is not None:
                attachment.follow(pid)
        self._attachment.restore()
        self._told = set()
        self._attachment.events(program.hits).read()
        self._attachment.map(program.seen).clear()
        if self._checks is not None and not self._n_ended:
            self._checks.map(program.granted).clear()
            self._checks.map(program.denied).clear()
        self._is_open, self._run_began = True, time.monotonic_ns()
        self._release_due = time.monotonic() + RELEASE_AFTER
        for attachment in self._attachments():
            attachment.resume()

    def end_run(self) -> None:
        """End a run: what was called counts for it."""
        time.sleep(_SETTLE)
        for attachment in self._attachments():
            attachment.pause()
        self._fold()

    def poll(self) -> bool:
        """Read the first calls that have been told, and detach the functions from time to time that made them."""
        self._read_hits()
        if self._told and time.monotonic() >= self._release_due:
            self._release()
        return False

    def _read_hits(self) -> None:
        for hit in self._attachment.events(program.hits).take():
            since = max(0, hit.time - self._run_began)
            found = FirstHit(self._n_ended + 1, since, hit.process, hit.thread, hit.name)
            known = self._first.setdefault(hit.function, found)
            if (known.run, known.ns) > (found.run, found.ns):  # by another CPU
                self._first[hit.function] = found
            self._told.add(hit.function)

    def _release(self) -> None:
        """Detach the functions that are known to have run."""
        began = time.monotonic()
        self._attachment.release(self._told)
        self._told = set()
        ended = time.monotonic()
        self._release_due = ended + max(RELEASE_AFTER, (ended - began) / RELEASE_SHARE)

    def _attachments(self) -> Iterator[Attachment]:
        yield self._attachment
        if self._checks is not None:
            yield self._checks

    def _fold(self) -> None:
        """Count the flags of the run that is open, and close it."""
        self._read_hits()
        self._n_runs = self._counted()
        self._is_open = False
        self._n_ended += 1

    def _counted(self) -> list[int]:
        if not self._is_open:
            return self._n_runs
        flags = self._attachment.totals(program.seen)
        return [n + bool(flag) for n, flag in zip(self._n_runs, flags, strict=True)]

    def _read(self) -> Coverage:
        self._read_hits()
        return Coverage(
            self.seconds,
            max(1, self._n_ended + self._is_open),
            self.functions,
            list(self._covered()),
            None if self._checks is None else list(_capabilities(self._checks)),
        )

    def _read_last(self) -> Coverage:
        if self._checks is not None:
            self._checks.pause()
        if self._is_open:
            self._fold()
        return self._read()

    def _covered(self) -> Iterator[CoveredFunction]:
        counts = self._counted()
        known = sorted((index for index in self._first if counts[index]), key=self._order)
        unknown = (index for index, n in enumerate(counts) if n and index not in self._first)
        for index in (*known, *unknown):
            yield CoveredFunction(self.functions[index], counts[index], self._first.get(index))

    def _order(self, index: int) -> tuple[int, int]:
        return self._first[index].run, self._first[index].ns

    def close(self) -> None:
        """Detach."""
        for attachment in self._attachments():
            attachment.close()


def _capabilities(checks: Attachment) -> Iterator[CheckedCapability]:
    answers = zip(checks.totals(program.granted), checks.totals(program.denied), strict=True)
    for number, (granted, denied) in enumerate(answers):
        if granted or denied:
            yield CheckedCapability(capability_name(number), granted, denied)


def start(functions: AnyFunctionSet, **options: Unpack[AttachOptions]) -> CoverageCollector:
    """Attach to `functions`, and begin the first run. The options are those of `multiprobe.attach`.

    If `security_capable` is one of the functions, the capabilities that it is asked for are counted, too.
    """
    attachment = mp.attach(program.cover, functions, replaceable=True, **options)
    try:
        return CoverageCollector(attachment, _attach_checks(attachment, options))
    except BaseException:
        attachment.close()
        raise


def _attach_checks(attachment: Attachment, options: AttachOptions) -> Attachment | None:
    _, of_kernel = kernel_part(attachment.functions)
    if of_kernel is None or program.CAPABILITY_CHECK not in of_kernel:
        return None
    alone: AttachOptions = {**options, "limits": Limits(watchdog=0), "progress": None}
    try:
        return mp.attach(program.check, [program.CAPABILITY_CHECK], **alone)
    except MultiprobeError as error:
        attachment.note(f"capabilities are not known: {error}")
        return None


def coverage(
    command: Sequence[str], functions: Functions = "*", *, runs: int = 1, **options: Unpack[AttachOptions]
) -> Coverage:
    """Run a command, and find out which functions it ran with its children. No shell is involved.

    command: its words; functions: as for `mp.attach`; runs: how often to run it
    The other options are those of `mp.attach`, without `pid`. Functions that interrupts ran while the command was on
    a CPU are among those covered.
    Raises UsageError for a command that can't be run, and whatever `mp.attach` raises.
    """
    if runs < 1:
        raise UsageError(f"invalid runs={runs}: expected at least 1")
    chosen = choose(functions, options.get("kernel"), unsafe=options.get("unsafe", False))
    workload = Workload(command)
    try:
        options["pid"] = workload.pid
        with start(chosen, **options) as collector:
            statuses = []
            for n in range(runs):
                workload = workload.again() if n else workload
                collector.begin_run(workload.pid if n else None)
                statuses.append(_run(workload, collector))
                collector.end_run()
            return replace(collector.finish(), report=collector.report, statuses=tuple(statuses))
    finally:
        workload.close()


def _run(workload: Workload, collector: CoverageCollector) -> int:
    """Run the command to its end. Returns its status."""
    workload.release()
    ended = poll()
    ended.register(workload.end_fd, POLLIN)
    while not ended.poll(1000 * EVERY):
        collector.poll()
    return workload.wait()

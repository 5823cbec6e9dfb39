"""`merge`: adds up the runs of many hosts, one after another, in memory that does not grow with their rows."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from multiprobe.errors import UsageError
from multiprobe.links.report import SCHEMA
from multiprobe.runs.info import RunInfo
from multiprobe.runs.opening import Admission, open_run
from multiprobe.runs.rows import RowMaker, Where
from multiprobe.runs.totals import Totals, kind_of
from multiprobe.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from multiprobe.runs.opening import Label, OpenRun, Source


@dataclass(frozen=True, slots=True)
class Merged:
    """The sum of several runs of one command.

    command, settings: those of all runs; runs: each with its host and its report (`mp.RunInfo`), without rows
    n_hosts: machines, each kernel of a machine counted by itself
    rows: as `--json` prints them for one run, with `runs` (in how many it is), `hosts` (on how many), and
        `attached_hosts` (on how many its function was attached)
    notes: sentences on runs that are cut off, or were given twice
    """

    command: str
    settings: Mapping[str, object]
    runs: tuple[RunInfo, ...]
    n_hosts: int
    rows: Table
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """How long all runs together measured, in seconds."""
        return sum(run.seconds for run in self.runs)

    @property
    def missed(self) -> dict[str, int]:
        """What all runs together are known to have missed, by cause."""
        found: Counter[str] = Counter()
        for run in self.runs:
            report = run.report
            found.update(report.missed if report is not None else {})
        return dict(found)

    def to_json(self) -> Iterator[dict[str, object]]:
        """The lines that `multiprobe merge --json` prints: all rows, each run with its report, the sum."""
        yield from self.rows
        for run in self.runs:
            yield {**run.to_json(), "path": run.path, "gap": run.gap, "report": dict(run.figures)}
        yield {
            "type": "merge",
            "schema": SCHEMA,
            "command": self.command,
            "settings": dict(self.settings),
            "runs": len(self.runs),
            "hosts": self.n_hosts,
            "seconds": round(self.seconds, 6),
            "missed": self.missed,
            "notes": list(self.notes),
        }


def merge(runs: Iterable[Source]) -> Merged:
    """Add up runs, joined by module and function (and task, error or stack): numbers, histograms bucket by bucket.

    runs: each an `mp.Run` or the path of one; files are read one after another, so that any number fits in memory
    Raises OSError, DataError and NotSupportedError as `Run.load` does; UsageError for no run, runs of different
    commands or settings, and of commands whose rows are no numbers of calls. A run that is given twice counts once.
    """
    merging = Merging()
    for source in runs:
        with open_run(source) as run:
            merging.add(run)
    return merging.result()


class Merging:
    """The sum of the runs so far."""

    def __init__(self) -> None:
        self._admission = Admission()
        self._runs: list[RunInfo] = []
        self._hosts: dict[object, int] = {}
        self._attached = AttachedSets()
        self._totals: Totals | None = None
        self._notes: list[str] = []

    def add(self, run: OpenRun) -> None:
        """Add a run, unless it was there before. Raises UsageError and DataError."""
        info = run.info
        if not self._admission.admit(info):
            return
        if self._totals is None:
            self._totals = Totals(kind_of(info.command, info.settings))
        number, host = len(self._runs), self._hosts.setdefault(info.host.identity, len(self._hosts))
        self._totals.add(run.batches(), info.path, run=number, host=host)
        self._attached.add(run, host)
        if run.gap():
            self._notes.append(f"{info.path} is {run.gap()}")
        self._runs.append(_without_rows(info, run.gap()))

    def result(self) -> Merged:
        """The sum. Raises UsageError if there is no run."""
        if self._totals is None or not self._runs:
            raise UsageError("there is no run to merge")
        info = self._runs[0]
        rows = Table(RowMaker(self._totals, self._attached.by_label()).rows())
        notes = (*self._notes, *self._admission.notes)
        return Merged(info.command, info.settings, tuple(self._runs), len(self._hosts), rows, notes)


def _without_rows(info: RunInfo, gap: str) -> RunInfo:
    kept = {one.name: getattr(info, one.name) for one in fields(RunInfo)}
    return RunInfo(**{**kept, "gap": gap})


class AttachedSets:
    """Which hosts had which functions attached. Most runs of a fleet have the same ones: each set is kept once."""

    def __init__(self) -> None:
        self._numbers: dict[Label, int] = {}
        self._sets: dict[object, array[int]] = {}
        self._where: dict[object, Where] = {}

    def add(self, run: OpenRun, host: int) -> None:
        """Add the functions of a run of the host with this number."""
        digest = run.attached_digest
        if digest not in self._sets:
            numbers = self._numbers
            self._sets[digest] = array("I", [numbers.setdefault(label, len(numbers)) for label in run.attached()])
        where = self._where.get(digest, Where(0, 0.0))
        self._where[digest] = where + Where(1 << host, run.info.seconds)

    def by_label(self) -> dict[Label, Where]:
        """For each function, on which hosts and how long it was attached."""
        found = [Where(0, 0.0)] * len(self._numbers)
        for digest, functions in self._sets.items():
            where = self._where[digest]
            for number in functions:
                found[number] += where
        return dict(zip(self._numbers, found, strict=True))

"""`Side`: the runs before, or after, that are compared with others, with their totals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from multiprobe.errors import UsageError
from multiprobe.runs.matching import base_name
from multiprobe.runs.opening import Admission, open_run
from multiprobe.runs.rows import label_of
from multiprobe.runs.totals import Totals, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from multiprobe.runs.info import RunInfo
    from multiprobe.runs.opening import Label, Source
    from multiprobe.runs.totals import Key, Total


@dataclass(frozen=True)
class MeasuredRun:
    """A run: its `info`, the (module, name) of its attached functions, and its totals by key."""

    info: RunInfo
    attached: frozenset[Label]
    totals: Mapping[Key, Total]


@dataclass(frozen=True)
class Side:
    """Several runs of the same thing."""

    runs: tuple[MeasuredRun, ...]

    @cached_property
    def attached(self) -> frozenset[Label]:
        """The functions that were attached in any run."""
        return frozenset(label for run in self.runs for label in run.attached)

    @cached_property
    def reasons(self) -> dict[str, str]:
        """Why functions could not be attached, by their label, from all reports."""
        found: dict[str, str] = {}
        for run in self.runs:
            report = run.info.report
            if report is not None:
                found |= {one.request: one.reason for one in report.skipped}
                found |= {one.function: f"{one.mechanism}: {one.reason}" for one in report.failed}
        return found

    @property
    def kernels(self) -> set[str]:
        """The kernels' releases."""
        return {run.info.host.kernel for run in self.runs}


def read_side(sources: Iterable[Source], admission: Admission) -> Side:
    """Read the runs of one side. Raises UsageError if there is none, or one that is cut off or doesn't fit."""
    runs = []
    for source in sources:
        with open_run(source) as run:
            if not admission.admit(run.info):
                continue
            totals = Totals(kind_of(run.info.command, run.info.settings))
            totals.add(run.batches(), run.info.path)
            if run.gap():
                raise UsageError(
                    f"{run.info.path} is {run.gap()}: what it lacks would seem to be gone", hint="compare other runs"
                )
            runs.append(MeasuredRun(run.info, frozenset(run.attached()), totals.by_key))
    if not runs:
        raise UsageError("each side of a comparison needs a run")
    return Side(tuple(runs))


def renamed(side: Side, names: tuple[str, ...], common: Mapping[Label, Label]) -> Side:
    """The same runs with functions under their common labels (`matching.match`), totals of equal keys added up.

    names: the fields of a key
    """

    def rename(key: Key) -> Key:
        fields = dict(zip(names, key, strict=True))
        if "function" in fields:
            label = label_of(fields)
            fields["module"], fields["function"] = common.get(label, label)
        found = [_based(part) if name in _PATHS else part for name, part in fields.items()]
        return tuple(found)

    runs = [
        MeasuredRun(run.info, frozenset(common.get(one, one) for one in run.attached), _regrouped(run.totals, rename))
        for run in side.runs
    ]
    return Side(tuple(runs))


_PATHS = {"first", "path", "end", "frames"}


def _based(part: object) -> object:
    if isinstance(part, tuple):
        return tuple(base_name(one) for one in part)
    return base_name(part) if isinstance(part, str) else part


def _regrouped(totals: Mapping[Key, Total], rename: Callable[[Key], Key]) -> dict[Key, Total]:
    found: dict[Key, Total] = {}
    for key, total in totals.items():
        new = rename(key)
        found[new] = found[new].plus(total) if new in found else total
    return found

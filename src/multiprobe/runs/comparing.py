"""`diff`: what changed between runs before and runs after, and which of it the runs' own spread can't explain."""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.errors import UsageError
from multiprobe.links.report import SCHEMA
from multiprobe.plurals import counted_text
from multiprobe.runs.matching import match
from multiprobe.runs.measures import Exposure, Measured, flame_values, measure
from multiprobe.runs.opening import Admission
from multiprobe.runs.run import Run
from multiprobe.runs.sides import Side, read_side, renamed
from multiprobe.runs.statistics import adjust, moderated_p_values
from multiprobe.runs.totals import kind_of
from multiprobe.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from multiprobe.runs.info import RunInfo
    from multiprobe.runs.opening import Label, Source

FDR = 0.001
"""Strict, because the usual variance says too little of the few functions that vary much more than others."""
LEAST = 0.1


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed between two sides, each one or several runs.

    command, settings: those of all runs; before, after: the runs, without rows
    rows: a row for each comparison, the surest changes first (docs/runs.md)
    unavailable: a row for each function that was attached on one side only, with the reason
    is_tested: whether each side has several runs, so that changes can be told from chance
    fdr: the part of all claims that may be wrong; least: the smallest change that is claimed, as a part of the value
    notes: sentences on what limits the comparison
    flame: for stacks the calls, for `graph` the nanoseconds in the function itself, by the frames (outermost first), as
        means per run or per second of each side
    """

    command: str
    settings: Mapping[str, object]
    before: tuple[RunInfo, ...]
    after: tuple[RunInfo, ...]
    rows: Table
    unavailable: Table
    is_tested: bool
    fdr: float
    least: float
    notes: tuple[str, ...] = ()
    flame: tuple[Mapping[tuple[str, ...], float], ...] = ()

    @property
    def claims(self) -> Table:
        """The rows of which chance is excluded at the rate `fdr`; none unless `is_tested`."""
        return Table(row for row in self.rows if row["is_claim"])

    def to_json(self) -> Iterator[dict[str, object]]:
        """The lines that `multiprobe diff --json` prints: rows, unavailable functions, the runs, a summary."""
        yield from self.rows
        yield from self.unavailable
        for side, runs in (("before", self.before), ("after", self.after)):
            for run in runs:
                yield {**run.to_json(), "path": run.path, "side": side, "report": dict(run.figures)}
        yield {
            "type": "diff",
            "schema": SCHEMA,
            "command": self.command,
            "settings": dict(self.settings),
            "before": len(self.before),
            "after": len(self.after),
            "compared": len(self.rows),
            "claims": len(self.claims),
            "is_tested": self.is_tested,
            "fdr": self.fdr,
            "least": self.least,
            "notes": list(self.notes),
        }


def diff(
    before: Source | Iterable[Source], after: Source | Iterable[Source], *, fdr: float = FDR, least: float = LEAST
) -> Difference:
    """Compare runs: which functions (errors, stacks) are new, gone, called more or less, slower or faster.

    before, after: a run (`mp.Run` or a path), or several of the same thing, whose spread shows what is chance
    fdr: the part of all claims that may be wrong (0 to 1); least: claim no smaller change (0.1 is 10 %)
    With one run on a side nothing is claimed: only how large the differences are can be said.
    Raises OSError, DataError and NotSupportedError as `Run.load` does; UsageError for runs of different commands or
    settings, that are cut off or on both sides, and for an invalid `fdr` or `least`.
    """
    if not 0 < fdr < 1 or not 0 <= least < math.inf:
        raise UsageError(f"invalid fdr={fdr!r} or least={least!r}: expected 0 < fdr < 1 and least ≥ 0")
    sides, notes = _read(before, after)
    info = sides[0].runs[0].info
    kind = kind_of(info.command, info.settings)
    names = kind.keys
    common = match(sides[0].attached, sides[1].attached)
    sides = renamed(sides[0], names, common), renamed(sides[1], names, common)
    exposure = Exposure.CALL if all(run.info.has_command for side in sides for run in side.runs) else Exposure.SECOND
    measured = list(measure(sides, names, exposure))
    is_tested = all(len(side.runs) > 1 for side in sides)
    rows = _tested(measured, fdr=fdr, least=least, is_tested=is_tested)
    return Difference(
        info.command,
        info.settings,
        tuple(run.info for run in sides[0].runs),
        tuple(run.info for run in sides[1].runs),
        rows,
        Table(_unavailable(sides)),
        is_tested,
        fdr,
        least,
        (*notes, *_limits(sides, is_tested=is_tested), *_missed(sides)),
        flame_values(sides, kind, exposure) if kind.flame else (),
    )


def _read(before: Source | Iterable[Source], after: Source | Iterable[Source]) -> tuple[tuple[Side, Side], list[str]]:
    first = Admission()
    one = read_side(_several(before), first)
    second = Admission(first.first)
    two = read_side(_several(after), second)
    both = sorted(first.paths[identity] for identity in first.paths.keys() & second.paths.keys())
    if both:
        raise UsageError(f"the run {both[0]} is on both sides", hint="compare different runs")
    return (one, two), [*first.notes, *second.notes]


def _several(source: Source | Iterable[Source]) -> Iterable[Source]:
    return [source] if isinstance(source, Run | str | os.PathLike) else source


def _tested(measured: Sequence[Measured], *, fdr: float, least: float, is_tested: bool) -> Table:
    """The rows of all comparisons, with probabilities if the runs are repeated."""
    q_values = _q_values(measured) if is_tested else {}
    rows = [(one, q_values.get(place)) for place, one in enumerate(measured)]
    rows.sort(key=lambda item: (1.0 if item[1] is None else item[1], -abs(item[0].samples.score)))
    return Table(
        one.to_json(least=least, q=q, is_claim=q is not None and q <= fdr and one.is_large(least)) for one, q in rows
    )


def _q_values(measured: Sequence[Measured]) -> dict[int, float]:
    """The false discovery rate at which each comparison that can be tested is a claim, by its place.

    The usual variance of calls is one thing, that of times another: p-values come from the comparisons of one measure.
    """
    p_values: dict[int, float] = {}
    for name in sorted({one.measure for one in measured}):
        places = [place for place, one in enumerate(measured) if one.measure == name and one.samples.is_repeated]
        found = moderated_p_values([measured[place].samples for place in places])
        p_values.update(zip(places, found, strict=True))
    return dict(zip(p_values, adjust(list(p_values.values())), strict=True))


def _limits(sides: Sequence[Side], *, is_tested: bool) -> Iterator[str]:
    if not is_tested:
        one = " and ".join(name for name, side in zip(("before", "after"), sides, strict=True) if len(side.runs) == 1)
        yield f"only one run {one}: differences can be measured, but not told from chance; repeat the run on each side"


def _missed(sides: Sequence[Side]) -> Iterator[str]:
    for name, side in zip(("before", "after"), sides, strict=True):
        missed: Counter[str] = Counter()
        for run in side.runs:
            report = run.info.report
            missed.update({} if report is None else report.missed)
        text = ", ".join(counted_text(n, cause.replace("_", " ")) for cause, n in missed.items() if n)
        if text:
            yield f"missed {name}: {text}"


def _unavailable(sides: Sequence[Side]) -> Iterator[dict[str, object]]:
    """The functions that were attached on one side only, those with most calls first."""
    before, after = sides
    for name, here, there in (("before", before, after), ("after", after, before)):
        calls = _calls_by_label(here)
        only = here.attached - there.attached
        for module, function in sorted(only, key=lambda label: (-calls[label], label)):
            yield {
                "type": "unavailable",
                "function": function,
                "module": module,
                "only": name,
                "calls": calls[module, function],
                "reason": _reason(there, module, function),
            }


def _calls_by_label(side: Side) -> Counter[Label]:
    found: Counter[Label] = Counter()
    for run in side.runs:
        for key, total in run.totals.items():
            if run.info.command != "errors":
                found[str(key[0]), str(key[1])] += total.sums[0]
    return found


def _reason(side: Side, module: str, function: str) -> str:
    """Why a function could not be attached on a side, from its reports."""
    label = f"{function} [{module}]" if module else function
    found = side.reasons.get(label) or side.reasons.get(function)
    kernels = ", ".join(sorted(side.kernels))
    return found or f"not in the kernel ({kernels}), or not selected"

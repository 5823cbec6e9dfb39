"""What is compared of a function, an error or a stack: how often it occurs, and how long its calls take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, cast

from multiprobe.errors import UsageError
from multiprobe.runs.rows import label_of
from multiprobe.runs.statistics import Samples, binomial_p

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from multiprobe.runs.sides import MeasuredRun, Side
    from multiprobe.runs.totals import Key, RowKind, Total


class Exposure(Enum):
    """What numbers of calls are divided by: the runs, if each measured a COMMAND, else the seconds."""

    CALL = "run"
    SECOND = "second"


ADDED = 0.5
"""Added to counts before the logarithm, which 0 has none of."""
MIN_CALLS = 10
"""On each side, for a comparison of times."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One comparison.

    fields: those of the key; measure: what is compared: "calls", "failures", "mean time", "typical time"; unit: of it
    before, after: the mean value of the runs on each side; samples: the logarithms of the runs' values
    """

    fields: Mapping[str, object]
    measure: str
    unit: str
    before: float
    after: float
    samples: Samples

    @property
    def change(self) -> str:
        """In one word."""
        if not self.before or not self.after:
            return "gone" if self.before else "new"
        if self.before == self.after:
            return "same"
        more, less = ("slower", "faster") if self.unit == "ns" else ("more", "less")
        return more if self.after > self.before else less

    def is_large(self, least: float) -> bool:
        """Whether the change is at least so large, as a part of the value."""
        return abs(self.samples.difference) >= math.log1p(least)

    def to_json(self, *, least: float, q: float | None, is_claim: bool) -> dict[str, object]:
        """The row of a comparison (docs/runs.md)."""
        return {
            "type": "change",
            "change": self.change,
            **{name: list(part) if isinstance(part, tuple) else part for name, part in self.fields.items()},
            "measure": self.measure,
            "unit": self.unit,
            "before": round(self.before, 3),
            "after": round(self.after, 3),
            "factor": round(self.after / self.before, 4) if self.before else None,
            "q": q,
            "is_large": self.is_large(least),
            "is_claim": is_claim,
        }


def measure(sides: Sequence[Side], names: Sequence[str], exposure: Exposure) -> Iterator[Measured]:
    """Each comparison that can be made between the runs of two sides. Raises UsageError for runs without a duration.

    names: the fields of a key
    """
    for key, runs in _comparable(sides, names):
        fields = dict(zip(names, key, strict=True))
        yield _calls(key, fields, runs, exposure)
        totals = [[run.totals[key] for run in side if key in run.totals] for side in runs]
        if all(totals) and totals[0][0].buckets:
            yield from _times(fields, totals)


def flame_values(sides: Sequence[Side], kind: RowKind, exposure: Exposure) -> tuple[dict[tuple[str, ...], float], ...]:
    """What a flame graph shows of the runs of each side: their mean per run or second, by the frames."""
    place, frames = kind.sums.index(kind.flame), kind.keys.index("frames")
    found: tuple[dict[tuple[str, ...], float], ...] = tuple({} for _ in sides)
    for key, runs in _comparable(sides, kind.keys):
        path = cast("tuple[str, ...]", key[frames])
        for values, side in zip(found, runs, strict=True):
            shares = (run.totals[key].sums[place] / _span(run, exposure) for run in side if key in run.totals)
            values[path] = values.get(path, 0.0) + sum(shares) / len(side)
    return found


def _comparable(sides: Sequence[Side], names: Sequence[str]) -> Iterator[tuple[Key, list[list[MeasuredRun]]]]:
    """Each key, and the runs of each side in which its function was attached: not what could be on one side only."""
    for key in dict.fromkeys(key for side in sides for run in side.runs for key in run.totals):
        runs = [_with_function(side, dict(zip(names, key, strict=True))) for side in sides]
        if all(runs):
            yield key, runs


def _with_function(side: Side, fields: Mapping[str, object]) -> list[MeasuredRun]:
    """The runs in which a function was attached; of errors, which come from any function, all runs."""
    if "function" not in fields:
        return list(side.runs)
    label = label_of(fields)
    return [run for run in side.runs if label in run.attached]


def _calls(key: Key, fields: Mapping[str, object], runs: Sequence[Sequence[MeasuredRun]], by: Exposure) -> Measured:
    counts = [[run.totals[key].sums[0] if key in run.totals else 0 for run in side] for side in runs]
    spans = [[_span(run, by) for run in side] for side in runs]
    values = [
        [math.log((n + ADDED) / span) for n, span in zip(*side, strict=True)]
        for side in zip(counts, spans, strict=True)
    ]
    means = [
        sum(n / span for n, span in zip(*side, strict=True)) / len(side[0]) for side in zip(counts, spans, strict=True)
    ]
    name = "failures" if "error" in fields else "calls"
    noise = sum(map(len, counts)) / (sum(map(sum, counts)) + ADDED)
    chance = binomial_p(sum(counts[0]), sum(counts[1]), sum(spans[0]) / sum(map(sum, spans)))
    samples = Samples(values[0], values[1], noise, chance)
    return Measured(fields, name, f"{name} per {by.value}", means[0], means[1], samples)


def _span(run: MeasuredRun, by: Exposure) -> float:
    """What the numbers of a run are divided by."""
    if by is Exposure.CALL:
        return 1.0
    if run.info.seconds <= 0:
        raise UsageError(f"{run.info.path} measured no time, so it has no calls per second to compare")
    return run.info.seconds


def _times(fields: Mapping[str, object], totals: Sequence[Sequence[Total]]) -> Iterator[Measured]:
    """The typical time (the mean of the logarithms, from the histogram) and the mean time (exact).

    Nothing for a function with few calls: how much its times vary is not known.
    """
    moments = [[Moments.of(total) for total in side if sum(total.buckets)] for side in totals]
    if any(sum(one.n for one in side) < MIN_CALLS for side in moments):
        return
    every = [one for side in moments for one in side]
    logs = [[one.mean_log for one in side] for side in moments]
    middles = [math.exp(sum(side) / len(side)) for side in logs]
    noise = _noise(every, [one.variance_of_log for one in every])
    yield Measured(fields, "typical time", "ns", middles[0], middles[1], Samples(logs[0], logs[1], noise))
    values = [[math.log(one.mean) for one in side] for side in moments]
    means = [sum(one.mean for one in side) / len(side) for side in moments]
    noise = _noise(every, [one.relative_variance for one in every])
    yield Measured(fields, "mean time", "ns", means[0], means[1], Samples(values[0], values[1], noise))


def _noise(every: Sequence[Moments], variances: Sequence[float]) -> float:
    """The variance of the mean of one run, from the variances of single calls in all runs."""
    n = sum(one.n for one in every)
    of_a_call = sum(one.n * variance for one, variance in zip(every, variances, strict=True)) / max(1, n - len(every))
    return of_a_call * sum(1 / one.n for one in every) / len(every)


@dataclass(frozen=True, slots=True)
class Moments:
    """Of the times of `n` calls: mean (ns) and relative variance, and those of their logarithms."""

    n: int
    mean: float
    relative_variance: float
    mean_log: float
    variance_of_log: float

    @classmethod
    def of(cls, total: Total) -> Moments:
        """From a histogram, each call at the middle of its bucket, and the exact total."""
        counts = [(_MIDDLES[bucket], count) for bucket, count in enumerate(total.buckets) if count]
        n = sum(count for _, count in counts)
        mean_log = sum(math.log(middle) * count for middle, count in counts) / n
        variance = sum((math.log(middle) - mean_log) ** 2 * count for middle, count in counts) / n
        mean = sum(middle * count for middle, count in counts) / n
        square = sum(middle**2 * count for middle, count in counts) / n
        exact = max(total.sums[2] / n, ADDED)
        return cls(n, exact, max(square / mean**2 - 1, 0.0) + _WITHIN, mean_log, variance + _WITHIN)


_MIDDLES = [max(ADDED, 2.0**bucket / math.sqrt(2)) for bucket in range(65)]
"""The geometric mean of a bucket's bounds."""
_WITHIN = math.log(2) ** 2 / 12
"""The variance of logarithms that are spread evenly over one bucket."""

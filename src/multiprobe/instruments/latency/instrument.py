"""How long calls take, by function: attach, sample, rank.

The program is in `latency_probe`. Knows how its maps become numbers for people; must not know terminals, signals or
output formats.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.errors import UsageError
from multiprobe.instruments.latency import self_time
from multiprobe.instruments.latency.program import Probe
from multiprobe.instruments.quantiles import quantile
from multiprobe.instruments.running import Running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from multiprobe.functions.sets import Function, FunctionSet

SORTS = ("total", "self", "calls", "mean", "p50", "p90", "p99", "max")


@dataclass(frozen=True, slots=True)
class Latency:
    """What one function's calls took (of one process or thread, `who`, where that was asked for; else 0).

    `calls` ended, `running` began and did not end (or were not seen to). Times in nanoseconds: `total` of all calls
    that ended, `own` of it without that of traced calls they made (None if not asked for), `longest` of one.
    `buckets[b]` calls took a time of b bits: from 2^(b−1) to 2^b − 1 ns; the last bucket isn't 0.
    """

    function: Function
    who: int
    calls: int
    running: int
    total: int
    own: int | None
    longest: int
    buckets: tuple[int, ...]

    @property
    def mean(self) -> float:
        """Nanoseconds."""
        return self.total / self.calls if self.calls else 0.0

    def quantile(self, share: float) -> int:
        """The nanoseconds that this share (0 to 1) of the calls did not exceed, right within a factor of two."""
        return quantile(self.buckets, share, longest=self.longest)


@dataclass(frozen=True, slots=True)
class Sample:
    """Everything at one moment: `seconds` since it began, all functions that were called, in index order.

    `lost`: calls whose self time is not known.
    """

    seconds: float
    rows: Sequence[Latency]
    lost: int = 0


class Timing(Running):
    """A running measurement. Must be closed, which detaches; `sample` reads the numbers at any time before."""

    def __init__(self, attachment: Any, probe: Probe) -> None:
        super().__init__(attachment)
        self._probe = probe
        self._began = time.monotonic()
        self._last: Sample | None = None

    @property
    def has_self(self) -> bool:
        """Whether self times are measured."""
        return self._probe.has_self

    def sample(self) -> Sample:
        """The numbers now, or, after `stop`, as they were then."""
        if self._last is not None:
            return self._last
        seconds = time.monotonic() - self._began
        rows = _rows_by_task(self._attachment, self._probe) if self._probe.by else self._rows()
        lost = self._attachment.totals(self_time.lost)[0] if self._probe.has_self else 0
        return Sample(seconds, list(rows), lost)

    def stop(self) -> Sample:
        """Measure no more, and note what was missed; the last sample."""
        if self._last is None:
            self._attachment.pause()
            self._last = self.sample()
            lost = {"self_times": self._last.lost} if self._probe.has_self else {}
            self._attachment.set_missed(self._attachment.missed() | lost)
        return self._last

    def _rows(self) -> Iterator[Latency]:
        attachment, probe = self._attachment, self._probe
        calls = attachment.totals(probe.calls)
        total = attachment.totals(probe.total)
        own = attachment.totals(probe.own) if probe.has_self else None
        longest = attachment.read(probe.longest, per_cpu=True).max(axis=0)
        histogram = attachment.read(probe.histogram)[:, 1:]  # the first bucket is for what is below 0
        for index, n in enumerate(calls):
            if n:
                yield _row(
                    self.functions[index], 0, n, total[index], own[index] if own else None, int(longest[index]),
                    histogram[index].tolist(),
                )  # fmt: skip


def _row(
    function: Function, who: int, begun: int, total: int, own: int | None, longest: int, buckets: Iterable[int]
) -> Latency:
    trimmed = list(buckets)
    while trimmed and not trimmed[-1]:
        trimmed.pop()
    ended = sum(trimmed)
    return Latency(function, who, ended, max(0, begun - ended), total, own, longest, tuple(trimmed))


def _rows_by_task(attachment: Any, probe: Probe) -> Iterator[Latency]:
    longest: dict[tuple[int, int], int] = {}
    buckets: dict[tuple[int, int], dict[int, int]] = {}
    for (index, who, _cpu), took in attachment.map(probe.longest).as_dict().items():
        longest[index, who] = max(took, longest.get((index, who), 0))
    for (index, who, bucket), n in attachment.map(probe.histogram).as_dict().items():
        buckets.setdefault((index, who), {})[bucket] = n
    total = attachment.map(probe.total).as_dict()
    own = attachment.map(probe.own).as_dict() if probe.has_self else None
    for key, begun in sorted(attachment.map(probe.calls).as_dict().items()):
        yield _row(
            attachment.functions[key[0]], key[1], begun, total.get(key, 0), None if own is None else own.get(key, 0),
            longest.get(key, 0), _dense(buckets.get(key, {})),
        )  # fmt: skip


def _dense(buckets: Mapping[int, int]) -> list[int]:
    return [buckets.get(bucket, 0) for bucket in range(max(buckets, default=-1) + 1)]


def start(functions: FunctionSet, *, by: str | None = None, has_self: bool = False, **options: Any) -> Timing:
    """Attach to `functions`; the other options are those of `multiprobe.attach`.

    by: "process" or "thread": each by itself; has_self: self time as well. Both make every hit dearer.
    """
    probe = Probe(by=by, has_self=has_self)
    return Timing(mp.attach(probe.program, functions, **options), probe)


def rank(rows: Iterable[Latency], *, sort: str = "total", top: int = 0) -> list[Latency]:
    """Rows with the largest `sort` (one of SORTS) first; `top` of them, or all."""
    keys: dict[str, Callable[[Latency], float]] = {
        "total": lambda row: row.total,
        "self": lambda row: row.own or 0,
        "calls": lambda row: row.calls,
        "mean": lambda row: row.mean,
        "p50": lambda row: row.quantile(0.5),
        "p90": lambda row: row.quantile(0.9),
        "p99": lambda row: row.quantile(0.99),
        "max": lambda row: row.longest,
    }
    if sort not in keys:
        raise UsageError(f"sort={sort!r} means nothing", hint=f"use one of {', '.join(map(repr, SORTS))}")
    ordered = sorted(rows, key=keys[sort], reverse=True)
    return ordered[:top] if top else ordered


def all_buckets(rows: Iterable[Latency]) -> list[int]:
    """The buckets of all rows together."""
    together: list[int] = []
    for row in rows:
        together += [0] * (len(row.buckets) - len(together))
        for bucket, n in enumerate(row.buckets):
            together[bucket] += n
    return together

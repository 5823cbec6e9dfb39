"""Times the calls of each attached function: the instrument, its samples, and their ranking.

The program and its maps are in `latency.program`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.errors import UsageError
from multiprobe.instruments.instrument import AttachOptions, Instrument
from multiprobe.instruments.keyed_rows import KEY
from multiprobe.instruments.latency import self_time
from multiprobe.instruments.latency.program import BUCKETS, CALLS, LONGEST, OWN, TOTAL, FunctionMaps, LatencyProbe
from multiprobe.instruments.latency.quantiles import quantile
from multiprobe.instruments.latency.task_table import TaskTable, by_pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Unpack

    from multiprobe.binaries.mixed import AnyFunction, AnyFunctionSet
    from multiprobe.links.attachment import Attachment

SORTS = ("total", "self", "calls", "mean", "p50", "p90", "p99", "max")


@dataclass(frozen=True, slots=True)
class Latency:
    """The times of one function's calls, or of those made by one task.

    who: the process or thread id when grouped by task, else 0
    calls: calls that returned; running: calls that did not return, or whose return was missed
    total, own, longest: nanoseconds of all calls that returned, of these without the traced calls they made (None
        unless measured), and of the longest one
    buckets: `buckets[b]` calls took a time of b bits, from 2^(b−1) to 2^b − 1 ns; the last bucket isn't 0
    """

    function: AnyFunction
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

    def quantile(self, fraction: float) -> int:
        """The nanoseconds that this fraction (0 to 1) of the calls did not exceed, right within a factor of two."""
        return quantile(self.buckets, fraction, longest=self.longest)


@dataclass(frozen=True, slots=True)
class LatencySample:
    """The times at one moment: `seconds` since the start, a row for each called function (and task), in index order.

    lost: calls whose self time is not known
    """

    seconds: float
    rows: Sequence[Latency]
    lost: int = 0

    @property
    def n_calls(self) -> int:
        """The calls of all functions that returned."""
        return sum(row.calls for row in self.rows)

    @property
    def n_running(self) -> int:
        """Calls that did not return, or whose return was missed."""
        return sum(row.running for row in self.rows)


class CallTimer(Instrument[LatencySample]):
    """A running measurement of call times."""

    def __init__(self, attachment: Attachment, probe: LatencyProbe) -> None:
        super().__init__(attachment)
        self._probe = probe

    @property
    def has_self(self) -> bool:
        """Whether self times are measured."""
        return self._probe.has_self

    def _read(self) -> LatencySample:
        seconds = self.seconds
        maps = self._probe.maps
        rows = self._rows(maps) if isinstance(maps, FunctionMaps) else self._rows_by_task(maps)
        return LatencySample(seconds, list(rows), self._lost())

    def _lost(self) -> int:
        return self._attachment.totals(self_time.lost)[0] if self._probe.has_self else 0

    def _missed(self) -> dict[str, int]:
        return super()._missed() | ({"self_times": self._lost()} if self._probe.has_self else {})

    def _rows(self, maps: FunctionMaps) -> Iterator[Latency]:
        attachment = self._attachment
        calls = attachment.totals(maps.calls)
        total = attachment.totals(maps.total)
        own = attachment.totals(maps.own) if self.has_self else None
        longest = attachment.read(maps.longest, per_cpu=True).max(axis=0)
        histogram = attachment.read(maps.histogram)[:, 1:]  # the first bucket is for what is below 0
        for index, n in enumerate(calls):
            if n:
                yield _row(
                    self.functions[index], 0, n, total[index], own[index] if own else None, int(longest[index]),
                    histogram[index].tolist(),
                )  # fmt: skip

    def _rows_by_task(self, table: TaskTable) -> Iterator[Latency]:
        rows = self._attachment.map(table.rows).used_rows(KEY).tolist()
        more = self._attachment.map(table.more).as_dict()
        for (index, who), row in sorted(by_pair(rows, more, table.rows.width).items()):
            yield _row(
                self.functions[index], who, row[CALLS], row[TOTAL], row[OWN] if self.has_self else None, row[LONGEST],
                row[BUCKETS:],
            )  # fmt: skip


def _row(
    function: AnyFunction, who: int, begun: int, total: int, own: int | None, longest: int, buckets: Iterable[int]
) -> Latency:
    trimmed = list(buckets)
    while trimmed and not trimmed[-1]:
        trimmed.pop()
    ended = sum(trimmed)
    return Latency(function, who, ended, max(0, begun - ended), total, own, longest, tuple(trimmed))


def start(
    functions: AnyFunctionSet, *, by: str | None = None, has_self: bool = False, **options: Unpack[AttachOptions]
) -> CallTimer:
    """Attach to `functions` and time their calls. The other options are those of `multiprobe.attach`.

    by: "process" or "thread" groups the times of each function by task
    has_self: measure self time, too
    Both make every call more expensive.
    """
    probe = LatencyProbe(by=by, has_self=has_self)
    return CallTimer(mp.attach(probe.program, functions, **options), probe)


def rank(rows: Iterable[Latency], *, sort: str = "total", top: int = 0) -> list[Latency]:
    """Rows in descending order of `sort` (one of SORTS); the first `top` of them, or all."""
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
        raise UsageError(f"invalid sort={sort!r}: expected one of {', '.join(map(repr, SORTS))}")
    ordered = sorted(rows, key=keys[sort], reverse=True)
    return ordered[:top] if top else ordered


def all_buckets(rows: Iterable[Latency]) -> list[int]:
    """The sum of the buckets of all rows."""
    together: list[int] = []
    for row in rows:
        add_buckets(together, row.buckets)
    return together


def add_buckets(together: list[int], buckets: Sequence[int]) -> list[int]:
    """Add the numbers of `buckets` to `together`, which grows if it is shorter. Returns it."""
    together += [0] * (len(buckets) - len(together))
    for bucket, n in enumerate(buckets):
        together[bucket] += n
    return together

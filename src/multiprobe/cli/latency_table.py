"""The table of `multiprobe latency`: calls, times, and a picture of their distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.instruments.latency.instrument import all_buckets
from multiprobe.output.histogram import log2_bounds, sparkline, used_range
from multiprobe.output.table import Column, TextTable
from multiprobe.output.units import time_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multiprobe.instruments.latency.instrument import Latency
    from multiprobe.instruments.task_names import TaskNames


def latency_table(rows: Sequence[Latency], names: TaskNames, *, by: str | None, sort: str) -> TextTable:
    """The table of these rows, with a picture of their distribution over the range that is in use."""
    has_self = any(row.own is not None for row in rows)
    used = used_range(all_buckets(rows))
    spread = f"{time_text(log2_bounds(used[0])[0])} … {time_text(log2_bounds(used[-1])[1])}" if used else "TIMES"
    titles = ["CALLS", "TOTAL", *(["SELF"] if has_self else []), "MEAN", "P50", "P90", "P99", "MAX"]
    drops = {"TOTAL": 1, "CALLS": 2, "SELF": 3, "MAX": 4, "MEAN": 5, "P99": 6, "P50": 7, "P90": 8}
    last = [Column("PROCESS" if by == "process" else "THREAD")] if by else []
    columns = (
        *(Column(title, True, drops[title]) for title in titles),
        Column(spread, drop=9),
        Column("FUNCTION"),
        *last,
    )
    key = next((index for index, title in enumerate(titles) if title == sort.upper()), 0)
    return TextTable(columns, [_cells(row, used, names, by=by) for row in rows], key)


def times_of(row: Latency) -> list[float]:
    """Nanoseconds, in the order of the table's columns."""
    own = [] if row.own is None else [row.own]
    return [row.total, *own, row.mean, row.quantile(0.5), row.quantile(0.9), row.quantile(0.99), row.longest]


def _cells(row: Latency, used: range, names: TaskNames, *, by: str | None) -> list[str]:
    buckets = [row.buckets[bucket] if bucket < len(row.buckets) else 0 for bucket in used]
    task = [f"{row.who} {names[row.who]}".rstrip()] if by else []
    return [f"{row.calls:,}", *map(time_text, times_of(row)), sparkline(buckets), str(row.function), *task]

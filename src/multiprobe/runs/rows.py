"""Makes rows as `--json` prints them from the totals of several runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.instruments.latency.quantiles import bounds, quantile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from multiprobe.runs.totals import Key, Total, Totals

    Label = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Where:
    """Where a function was attached: a bit for each host, and how many seconds in all runs together."""

    hosts: int
    seconds: float

    def __add__(self, other: Where) -> Where:
        return Where(self.hosts | other.hosts, self.seconds + other.seconds)


NOWHERE = Where(0, 0.0)


class RowMaker:
    """Makes the rows of totals, the largest first."""

    def __init__(self, totals: Totals, attached: Mapping[Label, Where]) -> None:
        self._totals, self._attached = totals, attached
        self._kind = totals.kind
        largest = "total_ns" if "total_ns" in self._kind.sums else self._kind.sums[0]
        self._order = self._kind.sums.index(largest)
        self._all = sum(total.sums[0] for total in totals.by_key.values()) or 1

    def rows(self) -> Iterator[dict[str, object]]:
        """All rows."""
        for key, total in sorted(self._totals.by_key.items(), key=lambda item: -item[1].sums[self._order]):
            yield self._row(key, total)

    def _row(self, key: Key, total: Total) -> dict[str, object]:
        kind = self._kind
        named = {
            name: list(part) if isinstance(part, tuple) else part for name, part in zip(kind.keys, key, strict=True)
        }
        sums = dict(zip(kind.sums, total.sums, strict=True))
        where = self._attached.get(label_of(named), NOWHERE)
        row: dict[str, object] = {"type": kind.type, **named, **sums}
        if kind.has_histogram:
            row |= distribution(total.buckets, sums["total_ns"], total.longest)
        elif kind.type == "function":
            row["rate"] = round(total.sums[0] / where.seconds, 3) if where.seconds else 0.0
            row["share"] = round(total.sums[0] / self._all, 6)
        hosts = {"runs": total.n_runs, "hosts": total.hosts.bit_count()}
        return row | hosts | {"attached_hosts": (where.hosts | total.hosts).bit_count()}


def label_of(row: Mapping[str, object]) -> Label:
    """The (module, name) of the function of a row; of an error, of the first to fail."""
    if "function" in row:
        return str(row["module"]), str(row["function"])
    name, _, module = str(row["first"]).partition(" [")
    return module.removesuffix("]"), name


def distribution(buckets: list[int], total: int, longest: int) -> dict[str, object]:
    """The fields of a row of `latency` that follow from its histogram, its total and its longest time."""
    n = sum(buckets)
    return {
        "mean_ns": round(total / n, 1) if n else 0.0,
        "p50_ns": quantile(buckets, 0.5, longest=longest),
        "p90_ns": quantile(buckets, 0.9, longest=longest),
        "p99_ns": quantile(buckets, 0.99, longest=longest),
        "max_ns": longest,
        "histogram": [[*bounds(bucket), count] for bucket, count in enumerate(buckets) if count],
    }

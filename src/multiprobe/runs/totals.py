"""`Totals`: adds up the rows of runs of one command, by function and whatever else distinguishes rows."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from operator import add, itemgetter
from typing import TYPE_CHECKING

from multiprobe.errors import DataError, UsageError
from multiprobe.instruments.latency.quantiles import bounds
from multiprobe.runs.paths import CallPaths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    Key = tuple[object, ...]

N_BUCKETS = 65
MAX_ROWS = 2_000_000
"""Different rows of all runs together."""
MAX_FRAMES = 20_000_000
"""In the stacks of all these rows."""
_MOST = 1 << 64
_BUCKETS = {bounds(bucket): bucket for bucket in range(N_BUCKETS)}


@dataclass(frozen=True, slots=True)
class RowKind:
    """The rows of a command.

    type: their type; keys: the fields that distinguish rows; sums: the numbers to add up; longest: the number of which
    the largest counts, or ""; has_histogram: with `histogram`, added bucket by bucket
    flame: the number that a flame graph shows, "" without stacks
    """

    type: str
    keys: tuple[str, ...]
    sums: tuple[str, ...]
    longest: str = ""
    has_histogram: bool = False
    flame: str = ""


ERROR_KEYS = ("error", "first", "path", "is_cut", "outcome", "end", "end_error")
KINDS = {
    "count": RowKind("function", ("module", "function"), ("calls",)),
    "latency": RowKind("function", ("module", "function"), ("calls", "running", "total_ns"), "max_ns", True),
    "errors": RowKind("group", ERROR_KEYS, ("count",)),
    "stacks": RowKind("stack", ("module", "function", "frames"), ("calls",), flame="calls"),
    "graph": RowKind(
        "path",
        ("module", "function", "frames"),
        ("calls", "running", "total_ns", "self_ns"),
        "max_ns",
        has_histogram=True,
        flame="self_ns",
    ),
}
COVERED = "`multiprobe coverage --against FILE` compares with a saved run of coverage"


def kind_of(command: str, settings: Mapping[str, object]) -> RowKind:
    """The kind of rows of a command with these settings. Raises UsageError for commands that have no numbers."""
    kind = KINDS.get(command)
    if kind is None:
        raise UsageError(
            f"runs of {command[:50]} can't be added up or compared: their rows are not numbers of calls",
            hint=COVERED if command == "coverage" else f"use runs of {', '.join(KINDS)}",
        )
    keys = (*kind.keys, *(("name",) if settings.get("by") else ()))
    more = {"latency": ("self_ns", "self"), "stacks": ("ns", "time")}.get(command)
    sums = (*kind.sums, more[0]) if more and settings.get(more[1]) else kind.sums
    return replace(kind, keys=keys, sums=sums)


class Total:
    """What is added up under one key.

    sums: in the order of `RowKind.sums`; buckets: calls by the bits of their time; hosts: a bit for each; n_runs
    """

    __slots__ = ("buckets", "hosts", "last_run", "longest", "n_runs", "sums")

    def __init__(self, n_sums: int, *, has_histogram: bool) -> None:
        self.sums = [0] * n_sums
        self.longest = 0
        self.buckets = [0] * N_BUCKETS if has_histogram else []
        self.hosts = 0
        self.n_runs = 0
        self.last_run = -1

    def plus(self, other: Total) -> Total:
        """The sum of two totals of one run."""
        made = Total(0, has_histogram=False)
        made.sums = list(map(add, self.sums, other.sums))
        made.buckets = list(map(add, self.buckets, other.buckets))
        made.longest, made.hosts = max(self.longest, other.longest), self.hosts | other.hosts
        made.n_runs = max(self.n_runs, other.n_runs)
        return made


class Totals:
    """The sums of rows, by key."""

    def __init__(self, kind: RowKind) -> None:
        self.kind = kind
        self.by_key: dict[Key, Total] = {}
        self._key_of = _key_getter(kind.keys)
        self._sums = tuple(enumerate(kind.sums))
        self._n_frames = 0

    def add(self, batches: Iterable[Sequence[Mapping[str, object]]], path: str, *, run: int = 0, host: int = 0) -> None:
        """Add the rows of a run, of the host with this number. Raises DataError, naming `path`, for invalid ones."""
        calls = CallPaths() if self.kind.type == "path" else None
        bit = 1 << host
        for rows in batches:
            with _invalid_rows(path):
                self._add_rows(calls.add(rows) if calls else rows, run, bit)
        if calls:
            with _invalid_rows(path):
                self._add_rows(calls.end(), run, bit)

    def _add_rows(self, rows: Iterable[Mapping[str, object]], run: int, bit: int) -> None:
        for row in rows:
            if row["type"] == self.kind.type:
                self._add(row, run, bit)
            elif self.kind.type != "group" or row["type"] != "failure":  # single failures are in their groups
                raise ValueError("of another type")

    def _add(self, row: Mapping[str, object], run: int, bit: int) -> None:
        key = self._key_of(row)
        total = self.by_key.get(key)
        if total is None:
            total = self._new_total(key)
        sums = total.sums
        for place, name in self._sums:
            number = row[name]
            if type(number) is not int or not 0 <= number < _MOST:
                raise ValueError(f"{number!r} is no count")
            sums[place] += number
        if self.kind.longest:
            total.longest = max(total.longest, _number(row[self.kind.longest]))
        if self.kind.has_histogram:
            _add_histogram(total.buckets, row["histogram"])
        if total.last_run != run:
            total.last_run = run
            total.n_runs += 1
            total.hosts |= bit

    def _new_total(self, key: Key) -> Total:
        if len(self.by_key) >= MAX_ROWS:
            raise ValueError(f"the runs have more than {MAX_ROWS:,} different rows")
        for name, part in zip(self.kind.keys, key, strict=True):
            if not _fits(name, part):
                raise ValueError(f"invalid {name}: {part!r}")
            self._n_frames += len(part) if isinstance(part, tuple) else 0
        if self._n_frames > MAX_FRAMES:
            raise ValueError(f"the stacks of the runs have more than {MAX_FRAMES:,} frames")
        total = self.by_key[key] = Total(len(self.kind.sums), has_histogram=self.kind.has_histogram)
        return total


@contextmanager
def _invalid_rows(path: str) -> Iterator[None]:
    """Say where rows are that have not what they should."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: an invalid row: {type(error).__name__}: {str(error)[:100]}") from error


def _key_getter(names: Sequence[str]) -> Callable[[Mapping[str, object]], Key]:
    if "path" not in names and "frames" not in names:
        return itemgetter(*names)
    return lambda row: tuple(tuple(part) if isinstance(part := row[name], list) else part for name in names)


def _fits(name: str, part: object) -> bool:
    """Whether a field of a key is what it should be."""
    if name in ("path", "frames"):
        return isinstance(part, tuple) and all(isinstance(one, str) for one in part)
    if name == "is_cut":
        return isinstance(part, bool)
    return isinstance(part, str) or (part is None and name in ("end", "end_error"))


def _number(found: object) -> int:
    if type(found) is int and 0 <= found < _MOST:
        return found
    raise ValueError(f"{found!r} is no count")


def _add_histogram(buckets: list[int], histogram: object) -> None:
    """Add `[[low, high, n], …]`; the bucket of low ≤ t < high has the number of the bits of low."""
    if type(histogram) is not list:
        raise ValueError("its histogram is no list")
    known, most = _BUCKETS, _MOST
    for low, high, n in histogram:
        if type(n) is not int or not 0 <= n < most:
            raise ValueError("its histogram has other buckets")
        buckets[known[low, high]] += n

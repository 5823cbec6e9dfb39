"""`multiprobe latency`: how long calls take.

Knows options, order of events and words; the measuring itself is `instruments.latency`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from multiprobe.cli.command import Asked, Command, Question
from multiprobe.cli.forms import check_files, print_table
from multiprobe.cli.live import Live
from multiprobe.cli.options import Option
from multiprobe.errors import UsageError
from multiprobe.instruments.latency import instrument as latency
from multiprobe.instruments.latency.instrument import SORTS, all_buckets, rank
from multiprobe.instruments.latency.program import BY, Probe
from multiprobe.instruments.over_time import FINEST, OverTime
from multiprobe.instruments.tasks import TaskNames
from multiprobe.output.frame import LiveFrame, LiveRow
from multiprobe.output.heat import HeatMap, heat_svg
from multiprobe.output.histogram import log2_bounds, log2_lines, sparkline, used_range
from multiprobe.output.table import Column, TextTable
from multiprobe.output.units import plural_text, time_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from multiprobe.cli.live import Live
    from multiprobe.functions.sets import FunctionSet
    from multiprobe.instruments.latency.instrument import Latency, Sample, Timing
    from multiprobe.instruments.tasks import TaskNames
    from multiprobe.output.table import TextTable

OWN = (
    Option("has_self", ("--self",), "flag", "Self time too: without traced calls made from it.", default=False),
    Option("by", ("--by",), "text", "Each process, or each thread, by itself.", "process|thread"),
    Option("sort", ("--sort",), "text", "Largest first: total, self, calls, mean, p50, p90, p99, max.", "BY", "total"),
    Option("heatmap", ("--heatmap",), "text", "Write how times changed while it ran, as SVG.", "FILE"),
)

HELP = """Time the calls of every function that a PATTERN matches.

For each function: how many calls, their total, mean, median, 90th and 99th percentile and maximum, and how they are
distributed. Calls are timed one by one, so that recursion, preemption and other CPUs don't matter; calls that don't
return are told apart. Ends after --duration, with COMMAND, or with Ctrl-C.
"""

EXAMPLES = """\
Examples:
  multiprobe latency 'vfs_*' -d 10                   ten seconds of the whole system
  multiprobe latency 'ext4_*' --self -- cp -r a b    where the time goes while a command runs
  multiprobe latency vfs_read --by process           who waits in read
  multiprobe latency 'blk_*' --heatmap blk.svg -d 60 how it changed"""


QUICK = 40_000
"""Functions whose numbers may be looked at each second: of fewer, more often."""


class LatencyQuestion(Question):
    """How long do calls take?"""

    when = "session"
    measuring: Timing

    def __init__(self, asked: Asked, *, has_self: bool, by: str | None, sort: str, heatmap: str | None) -> None:
        super().__init__(asked)
        _check(sort, by=by, has_self=has_self)
        check_files(heatmap)
        self.has_self, self.by, self.sort, self.heatmap = has_self, by, sort, heatmap

    @staticmethod
    def ahead(options: dict[str, Any]) -> tuple[Any, str] | None:
        """The program of these options."""
        if options["by"] is not None and options["by"] not in BY:
            return None
        return Probe(by=options["by"], has_self=options["has_self"]).program, "session"

    def start(self, functions: FunctionSet, **options: Any) -> Timing:
        """Attach."""
        return latency.start(functions, by=self.by, has_self=self.has_self, **options)

    def begin(self) -> None:
        """Begin to take notes."""
        has_heat = self.heatmap is not None
        self.notes = Notes(by=self.by, has_heat=has_heat, n_functions=self.measuring.report.attached)
        self.is_looking = has_heat or self.by is not None
        if self.notes.heat is not None:
            self.every = self.notes.heat.step
            import_module("numpy")  # which takes the first sample's time if it isn't there
            self.notes.begin(self.measuring.sample())

    def look(self, sample: Sample) -> None:
        """Take notes; the longer it takes, the less often."""
        self.notes.look(sample)
        if self.notes.heat is not None:
            self.every = min(1.0, self.notes.heat.step)

    def show(self) -> Callable[[Sample, Sample | None, int], TextTable]:
        """The functions that took most."""

        def show(sample: Sample, _before: Sample | None, rows: int) -> TextTable:
            return _table(rank(sample.rows, sort=self.sort, top=rows), self.notes.names, by=self.by)

        return show

    def screen(self) -> Live[Sample]:
        """All functions that were called, and how one's times are distributed."""
        return _make_screen(self.measuring, self.notes.names, sort=self.sort, by=self.by)

    def finish(self, sample: Sample) -> None:
        """The heat map."""
        self.notes.look(sample, is_last=True)
        if self.heatmap is not None:
            self.notes.write_heat(self.heatmap, self.asked.patterns)

    def figures(self, sample: Sample) -> dict[str, Any]:
        """All calls together."""
        calls, running = (sum(getattr(row, name) for row in sample.rows) for name in ("calls", "running"))
        total = sum(row.total for row in sample.rows)
        return {"calls": calls, "running": running, "total_ns": total, "seconds": round(sample.seconds, 6)}

    def rows(self, sample: Sample) -> Iterator[dict[str, Any]]:
        """A row for each function, or function and task, that was called."""
        for row in rank(sample.rows, sort=self.sort, top=self.asked.top or 0):
            yield _to_json(row, self.notes.names, by=self.by)

    def print(self, sample: Sample, report: dict[str, Any]) -> None:
        """A table of what took most, and all calls together."""
        rows = rank(sample.rows, sort=self.sort, top=self.asked.limit() or 0)
        print_table(_table(rows, self.notes.names, by=self.by), n_more=len(sample.rows) - len(rows))
        n_functions = len({row.function.address for row in sample.rows})
        calls, functions = plural_text(report["calls"], "call"), plural_text(n_functions, "function")
        print(f"{calls} of {functions} in {sample.seconds:.2f} s")
        if report["running"]:
            print(_running_line(sample, report["running"]))


def _check(sort: str, *, by: str | None, has_self: bool) -> None:
    """Raise UsageError for words that mean nothing."""
    if by is not None and by not in BY:
        raise UsageError(f"--by {by} means nothing", hint=f"there are {', '.join(BY)}")
    if sort not in SORTS:
        raise UsageError(f"--sort {sort} means nothing", hint=f"there are {', '.join(SORTS)}")
    if sort == "self" and not has_self:
        raise UsageError("--sort self needs --self, which measures it")


class Notes:
    """What is kept of the samples on the way: names of tasks, and the distribution over time."""

    def __init__(self, *, by: str | None, has_heat: bool, n_functions: int) -> None:
        self.names = TaskNames()
        self.by = by
        self.heat = OverTime(step=max(FINEST, n_functions / QUICK)) if has_heat else None

    def begin(self, sample: Sample) -> None:
        """From here on."""
        if self.heat is not None:
            self.heat.begin(sample.seconds, all_buckets(sample.rows))

    def look(self, sample: Sample, *, is_last: bool = False) -> None:
        """Note what a sample tells."""
        if self.by:
            self.names.look({row.who for row in sample.rows})
        if self.heat is not None:
            self.heat.note(sample.seconds, all_buckets(sample.rows), is_last=is_last)

    def write_heat(self, path: str, patterns: Sequence[str]) -> None:
        """The distribution over time as SVG."""
        if self.heat is None:
            return
        heat = HeatMap(self.heat.columns, self.heat.ends)
        title, subtitle = f"Time in {' '.join(patterns)}", "how long calls took, by when they returned"
        with open(path, "w", encoding="utf-8") as file:
            file.write(heat_svg(heat, title=title, subtitle=subtitle))


def _make_screen(timing: Timing, names: TaskNames, *, sort: str, by: str | None) -> Live[Sample]:
    """The full-screen view: all functions that were called, and how one's times are distributed."""
    index_of = {address: index for index, address in enumerate(timing.functions.addresses())}

    def order(row: Latency, last: str) -> tuple[float | str, ...]:
        return (row.calls, *_times(row), row.mean, str(row.function), *([last] if by else []))

    def frame(sample: Sample, _before: Sample | None) -> LiveFrame:
        shown: dict[int, Latency] = {}
        table = _table(sample.rows, names, by=by)
        rows = []
        for row, cells in zip(sample.rows, table.rows, strict=True):
            index = index_of[row.function.address]
            key = index | row.who << 32
            shown[key] = row
            text = f"{row.function} {cells[-1]}" if by else str(row.function)
            rows.append(LiveRow(key, tuple(cells), order(row, cells[-1]), text, index))
        title = f"{timing.report.attached:,} functions attached, {len(rows):,} rows, {sample.seconds:.0f} s"
        return LiveFrame(title, table.columns, rows, lambda key: details(shown.get(key)))

    def details(row: Latency | None) -> list[str]:
        if row is None:
            return ["not called"]
        task = f", {row.who} {names[row.who]}" if by else ""
        about = f"{row.calls:,} calls, {time_text(row.total)} in all, {time_text(row.longest)} the longest"
        return [f"{row.function}{task}", "", about, *log2_lines(row.buckets, form=time_text)]

    titles = ["calls", "total", *(["self"] if timing.has_self else []), *SORTS[3:]]
    return Live(frame, timing.functions, titles.index(sort))


def _running_line(sample: Sample, n: int) -> str:
    by_name: dict[str, int] = {}
    for row in sample.rows:
        if row.running:
            by_name[str(row.function)] = by_name.get(str(row.function), 0) + row.running
    most = sorted(by_name.items(), key=lambda item: -item[1])
    words = ", ".join(f"{name} {count:,}" for name, count in most[:5]) + (", …" if len(most) > 5 else "")
    return f"{plural_text(n, 'call')} more {'was' if n == 1 else 'were'} not seen to return: {words}"


def _table(rows: Sequence[Latency], names: TaskNames, *, by: str | None) -> TextTable:
    has_self = any(row.own is not None for row in rows)
    used = used_range(all_buckets(rows))
    spread = f"{time_text(log2_bounds(used[0])[0])} … {time_text(log2_bounds(used[-1])[1])}" if used else "TIMES"
    titles = ["CALLS", "TOTAL", *(["SELF"] if has_self else []), "MEAN", "P50", "P90", "P99", "MAX"]
    drops = {"TOTAL": 1, "CALLS": 2, "SELF": 3, "MAX": 4, "P99": 5, "P50": 6, "MEAN": 7, "P90": 8}
    last = [Column("PROCESS" if by == "process" else "THREAD")] if by else []
    columns = (
        *(Column(title, True, drops[title]) for title in titles),
        Column(spread, drop=9),
        Column("FUNCTION"),
        *last,
    )
    return TextTable(columns, [_cells(row, used, names, by=by) for row in rows])


def _times(row: Latency) -> list[float]:
    """Nanoseconds, in the order of the table's columns."""
    own = [] if row.own is None else [row.own]
    return [row.total, *own, row.mean, row.quantile(0.5), row.quantile(0.9), row.quantile(0.99), row.longest]


def _cells(row: Latency, used: range, names: TaskNames, *, by: str | None) -> list[str]:
    buckets = [row.buckets[bucket] if bucket < len(row.buckets) else 0 for bucket in used]
    task = [f"{row.who} {names[row.who]}".rstrip()] if by else []
    return [f"{row.calls:,}", *map(time_text, _times(row)), sparkline(buckets), str(row.function), *task]


def _to_json(row: Latency, names: TaskNames, *, by: str | None) -> dict[str, Any]:
    task = {"pid" if by == "process" else "tid": row.who, "name": names[row.who]} if by else {}
    return {
        "type": "function",
        "function": row.function.name,
        "module": row.function.module,
        "address": f"{row.function.address:#x}",
        **task,
        "calls": row.calls,
        "running": row.running,
        "total_ns": row.total,
        **({} if row.own is None else {"self_ns": row.own}),
        "mean_ns": round(row.mean, 1),
        "p50_ns": row.quantile(0.5),
        "p90_ns": row.quantile(0.9),
        "p99_ns": row.quantile(0.99),
        "max_ns": row.longest,
        "histogram": [[*log2_bounds(bucket), n] for bucket, n in enumerate(row.buckets) if n],
    }


COMMAND = Command("latency", HELP, EXAMPLES, LatencyQuestion, OWN, ("top", "live"))

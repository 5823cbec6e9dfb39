"""`multiprobe latency`: how long calls take.

Knows options, order of events and words; the measuring itself is `instruments.latency`.
"""

from __future__ import annotations

from multiprobe.cli.measuring import (
    ATTACHING,
    COMMAND_ONLY,
    DEFAULT_TOP,
    Forms,
    attach,
    check,
    choose,
    detach,
    make_report,
    prepare,
    print_plan,
    print_report,
    print_table,
    watch,
)
from multiprobe.cli.options import SHARED, Option, parse_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    import click

    from multiprobe.cli.live import Live
    from multiprobe.instruments.latency import Latency, Sample, Timing
    from multiprobe.instruments.tasks import TaskNames
    from multiprobe.instruments.workload import Workload
    from multiprobe.output.table import Table

OPTIONS = (
    SHARED["duration"],
    Option("has_self", ("--self",), "flag", "Self time too: without traced calls made from it.", default=False),
    Option("by", ("--by",), "text", "Each process, or each thread, by itself.", "process|thread"),
    Option("sort", ("--sort",), "text", "Largest first: total, self, calls, mean, p50, p90, p99, max.", "BY", "total"),
    SHARED["top"],
    SHARED["pid"],
    COMMAND_ONLY,
    Option("heatmap", ("--heatmap",), "text", "Write how times changed while it ran, as SVG.", "FILE"),
    SHARED["live"],
    SHARED["json"],
    SHARED["csv"],
    SHARED["parquet"],
    *ATTACHING,
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

HEAT_COLUMNS = 60
"""At least so many columns, where it is known how long it takes."""


def __getattr__(name: str) -> click.Command:
    """`command`, made when click asks for it."""
    if name != "command":
        raise AttributeError(name)
    from multiprobe.cli.group import tracing_command

    return tracing_command("latency", OPTIONS, run, help=HELP, epilog=EXAMPLES)


def run_plain(arguments: Sequence[str]) -> int | None:
    """Read a well-formed command line without click, and run it. None when click should look at it."""
    options = parse_plain(OPTIONS, arguments)
    return None if options is None else run(**options)


def run(
    *,
    patterns: Sequence[str],
    command: Sequence[str],
    duration: float | None,
    has_self: bool,
    by: str | None,
    sort: str,
    top: int | None,
    pid: int | None,
    command_only: bool,
    heatmap: str | None,
    live: bool,
    json: bool,
    csv: bool,
    parquet: str | None,
    dry_run: bool,
    unsafe: bool,
    vm: str | None,
    debug: bool,
    **choice: Any,
) -> int:
    """Choose, attach, time until the end, print. Returns the exit status."""
    check("latency", command=command, pid=pid, command_only=command_only)
    forms = Forms(json, csv, parquet)
    _check(sort, by=by, has_self=has_self)
    if live:
        from multiprobe.cli.live import check as check_live

        check_live(is_text=forms.is_text)
    functions = choose(patterns, unsafe=unsafe)
    choice |= {"when": "session"}
    if dry_run:
        return print_plan(functions, **choice, json=json)
    workload = prepare(command)
    try:
        only = workload.pid if workload and command_only else pid
        from multiprobe.instruments import latency

        options = {"by": by, "has_self": has_self, "pid": only, "unsafe": unsafe, **choice}
        with attach(latency.start, functions, **options) as timing:
            notes = Notes(by=by, has_heat=heatmap is not None, duration=duration)
            show = None if not forms.is_text else notes.make_show(sort)
            screen = _make_screen(timing, notes.names, sort=sort, by=by) if live else None
            sample = watch(
                timing, workload, duration=duration, pid=pid, show=show, on_sample=notes.on_sample, every=notes.every,
                live=screen,
            )  # fmt: skip
            notes.look(sample)
            if heatmap is not None:
                notes.write_heat(heatmap, patterns)
            _print(timing, sample, notes.names, workload, sort=sort, by=by, top=top, forms=forms)
            detach(timing)
    finally:
        if workload is not None:
            workload.close()
    return 0


def _check(sort: str, *, by: str | None, has_self: bool) -> None:
    """Raise UsageError for words that mean nothing."""
    from multiprobe.errors import UsageError
    from multiprobe.instruments.latency import SORTS
    from multiprobe.instruments.latency_probe import BY

    if by is not None and by not in BY:
        raise UsageError(f"--by {by} means nothing", hint=f"there are {', '.join(BY)}")
    if sort not in SORTS:
        raise UsageError(f"--sort {sort} means nothing", hint=f"there are {', '.join(SORTS)}")
    if sort == "self" and not has_self:
        raise UsageError("--sort self needs --self, which measures it")


class Notes:
    """What is kept of the samples on the way: names of tasks, and the distribution over time."""

    def __init__(self, *, by: str | None, has_heat: bool, duration: float | None) -> None:
        from multiprobe.instruments.tasks import TaskNames

        self.names = TaskNames()
        self.by = by
        self.every = min(1.0, max(0.1, duration / HEAT_COLUMNS)) if has_heat and duration else 1.0
        self.on_sample = self.look if has_heat or by else None
        self._seconds = [0.0]
        self._heat: list[list[int]] = [[]]

    def look(self, sample: Sample) -> None:
        """Note what a sample tells."""
        from multiprobe.instruments.latency import all_buckets

        if self.by:
            self.names.look({row.who for row in sample.rows})
        self._seconds.append(sample.seconds)
        self._heat.append(all_buckets(sample.rows))

    def make_show(self, sort: str) -> Callable[[Sample, Sample | None, int], Table]:
        """What makes the live table of a sample."""

        def show(sample: Sample, _before: Sample | None, rows: int) -> Table:
            from multiprobe.instruments.latency import rank

            return _table(rank(sample.rows, sort=sort, top=rows), self.names, by=self.by)

        return show

    def write_heat(self, path: str, patterns: Sequence[str]) -> None:
        """The distribution over time as SVG."""
        from multiprobe.output.heat import HeatMap, heat_svg

        columns = [
            [n - (before[b] if b < len(before) else 0) for b, n in enumerate(after)]
            for before, after in zip(self._heat, self._heat[1:], strict=False)
        ]
        seconds = self._seconds[-1] / len(columns)
        title = f"Time in {' '.join(patterns)}"
        with open(path, "w", encoding="utf-8") as file:
            file.write(
                heat_svg(HeatMap(columns, seconds), title=title, subtitle=f"calls that ended in each {seconds:.3g} s")
            )


def _make_screen(timing: Timing, names: TaskNames, *, sort: str, by: str | None) -> Live:
    """The full-screen view: all functions that were called, and how one's times are distributed."""
    from multiprobe.cli.live import Live
    from multiprobe.instruments.latency import SORTS
    from multiprobe.output.histogram import log2_lines
    from multiprobe.output.units import time_text
    from multiprobe.output.view import Frame, Row, View

    index_of = {address: index for index, address in enumerate(timing.functions.addresses())}
    shown: dict[int, Latency] = {}

    def key(row: Latency) -> int:
        return index_of[row.function.address] | row.who << 32

    def order(row: Latency, last: str) -> tuple[float | str, ...]:
        times = [row.total, *([row.own] if row.own is not None else []), row.mean]
        times += [row.quantile(0.5), row.quantile(0.9), row.quantile(0.99), row.longest]
        return (row.calls, *times, row.mean, str(row.function), *([last] if by else []))

    def frame(sample: Sample, _before: Sample | None) -> Frame:
        shown.clear()
        shown.update((key(row), row) for row in sample.rows)
        table = _table(sample.rows, names, by=by)
        rows = [
            Row(key(row), tuple(cells), order(row, cells[-1]))
            for row, cells in zip(sample.rows, table.rows, strict=True)
        ]
        title = f"{timing.report.attached:,} functions attached, {len(rows):,} rows, {sample.seconds:.0f} s"
        return Frame(title, table.columns, rows)

    def details(chosen: int, _sample: Sample) -> list[str]:
        row = shown.get(chosen)
        if row is None:
            return ["not called"]
        about = f"{row.calls:,} calls, {time_text(row.total)} in all, {time_text(row.longest)} the longest"
        return [about, *log2_lines(row.buckets, form=time_text)]

    titles = ["calls", "total", *(["self"] if timing.has_self else []), *SORTS[3:]]
    view = View(sort=titles.index(sort))
    return Live(frame=frame, details=details, functions=timing.functions, view=view)


def _print(
    timing: Timing, sample: Sample, names: TaskNames, workload: Workload | None, *, sort: str, by: str | None,
    top: int | None, forms: Forms,
) -> None:  # fmt: skip
    from multiprobe.instruments.latency import rank

    rows = rank(sample.rows, sort=sort, top=top or 0)
    calls, running = (sum(getattr(row, name) for row in sample.rows) for name in ("calls", "running"))
    report = make_report(
        timing, workload, calls=calls, running=running, total_ns=sum(row.total for row in sample.rows),
        seconds=round(sample.seconds, 6),
    )  # fmt: skip
    forms.write((_to_json(row, names, by=by) for row in rows), report, workload)
    if not forms.is_text:
        return
    rows = rows if top is not None else rows[:DEFAULT_TOP]
    print_table(_table(rows, names, by=by), n_more=len(sample.rows) - len(rows))
    n_functions = len({row.function.address for row in sample.rows})
    print(f"{calls:,} calls of {n_functions:,} functions in {sample.seconds:.2f} s")
    if running:
        print(_running_line(sample, running))
    print_report(report, workload)


def _running_line(sample: Sample, n: int) -> str:
    by_name: dict[str, int] = {}
    for row in sample.rows:
        if row.running:
            by_name[str(row.function)] = by_name.get(str(row.function), 0) + row.running
    most = sorted(by_name.items(), key=lambda item: -item[1])
    words = ", ".join(f"{name} {count:,}" for name, count in most[:5]) + (", …" if len(most) > 5 else "")
    return f"{n:,} calls more were not seen to return: {words}"


def _table(rows: Sequence[Latency], names: TaskNames, *, by: str | None) -> Table:
    from multiprobe.output.histogram import log2_bounds, used_range
    from multiprobe.output.table import Column, Table
    from multiprobe.output.units import time_text

    has_self = any(row.own is not None for row in rows)
    used = used_range(_together(rows))
    spread = f"{time_text(log2_bounds(used[0])[0])} … {time_text(log2_bounds(used[-1])[1])}" if used else "TIMES"
    titles = ["CALLS", "TOTAL", *(["SELF"] if has_self else []), "MEAN", "P50", "P90", "P99", "MAX"]
    last = [Column("PROCESS" if by == "process" else "THREAD")] if by else []
    columns = (*(Column(title, True) for title in titles), Column(spread), Column("FUNCTION"), *last)
    return Table(columns, [_cells(row, used, names, by=by) for row in rows])


def _together(rows: Sequence[Latency]) -> list[int]:
    from multiprobe.instruments.latency import all_buckets

    return all_buckets(rows)


def _cells(row: Latency, used: range, names: TaskNames, *, by: str | None) -> list[str]:
    from multiprobe.output.histogram import sparkline
    from multiprobe.output.units import time_text

    times = [row.total, *([row.own] if row.own is not None else []), row.mean]
    times += [row.quantile(0.5), row.quantile(0.9), row.quantile(0.99), row.longest]
    buckets = [row.buckets[bucket] if bucket < len(row.buckets) else 0 for bucket in used]
    task = [f"{row.who} {names[row.who]}".rstrip()] if by else []
    return [f"{row.calls:,}", *map(time_text, times), sparkline(buckets), str(row.function), *task]


def _to_json(row: Latency, names: TaskNames, *, by: str | None) -> dict[str, Any]:
    from multiprobe.output.histogram import log2_bounds

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

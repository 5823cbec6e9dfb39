"""`multiprobe latency`: the times of calls."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

import click

from multiprobe.binaries.mixed import name_fields
from multiprobe.cli.files import writing
from multiprobe.cli.latency_table import latency_table
from multiprobe.cli.measurement import Measurement
from multiprobe.cli.measuring_command import measuring_command
from multiprobe.cli.options import (
    MeasuringOptions,
    OutputOption,
    SelectionOption,
    live_option,
    measuring_options,
    metrics_option,
    top_option,
)
from multiprobe.cli.params import OutputFile
from multiprobe.errors import UsageError
from multiprobe.instruments.latency import instrument as latency
from multiprobe.instruments.latency.instrument import (
    SORTS,
    CallTimer,
    Latency,
    LatencySample,
    all_buckets,
    rank,
)
from multiprobe.instruments.latency.over_time import FINEST, OverTime
from multiprobe.instruments.latency.program import BY, LatencyProbe
from multiprobe.instruments.task_names import TaskNames
from multiprobe.output.heat import HeatMap, heat_svg
from multiprobe.output.histogram import log2_bounds
from multiprobe.output.page import Picture
from multiprobe.output.table import TextTable
from multiprobe.plurals import plural_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.cli.live import Live
    from multiprobe.compiler.program import Program
    from multiprobe.instruments.instrument import AttachOptions, Instrument
    from multiprobe.output.metrics import Family

EXAMPLES = """\
Examples:
  multiprobe latency 'vfs_*' -d 10                   the whole system, for ten seconds
  multiprobe latency 'ext4_*' --self -- cp -r a b    where the time is spent while a command runs
  multiprobe latency vfs_read --by process           which processes wait in read
  multiprobe latency 'blk_*' --heatmap blk.svg -d 60 how the distribution changes over time"""

QUICK = 40_000
"""The number of functions sampled per second for a heat map; fewer functions are sampled more often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyOptions(MeasuringOptions):
    """The options of `latency`."""

    has_self: bool = False
    by: str | None = None
    sort: str = "total"
    heatmap: str | None = None

    def __post_init__(self) -> None:
        MeasuringOptions.__post_init__(self)
        if self.sort == "self" and not self.has_self:
            raise UsageError("--sort self needs --self")
        if self.by is not None and self.metrics is not None:
            raise UsageError("--by and --metrics exclude each other: there would be a series for every process")


class LatencyMeasurement(Measurement[LatencyOptions, LatencySample]):
    """Times calls."""

    when = "session"
    has_table = True
    instrument: CallTimer

    def program_ahead(self) -> Program:
        """The program for these options."""
        return LatencyProbe(by=self.options.by, has_self=self.options.has_self).program

    def start(self, functions: AnyFunctionSet, options: AttachOptions) -> CallTimer:
        """Attach and time calls."""
        if self._has_heat:
            import_module("numpy")  # before the measurement begins: it takes time, which the heat map would show
        return latency.start(functions, by=self.options.by, has_self=self.options.has_self, **options)

    @property
    def _has_heat(self) -> bool:
        return self.options.heatmap is not None or self.options.html is not None

    def begin(self) -> None:
        """Begin to record the names of tasks and the distribution over time."""
        has_heat = self._has_heat
        self.history = LatencyHistory(
            by=self.options.by, has_heat=has_heat, n_functions=self.instrument.report.attached
        )
        self.is_looking = has_heat or self.options.by is not None
        if self.history.heat is not None:
            self.every = self.history.heat.step
            self.history.begin(self.instrument.sample())

    def look(self, sample: LatencySample) -> bool:
        """Record a sample; the more functions, the less often."""
        self.history.add(sample)
        if self.history.heat is not None:
            self.every = min(1.0, self.history.heat.step)
        return False

    def table(self, sample: LatencySample, before: LatencySample | None, rows: int) -> TextTable:
        """The functions in which most time was spent."""
        return self._table(rank(sample.rows, sort=self.options.sort, top=rows))

    def screen(self) -> Live[LatencySample]:
        """All functions that were called, and the distribution of one's times."""
        from multiprobe.cli.latency_views import make_screen

        return make_screen(self.instrument, self.history.names, sort=self.options.sort, by=self.options.by)

    def finish(self, sample: LatencySample) -> None:
        """Write the heat map."""
        self.history.add(sample, is_last=True)
        if self.options.heatmap is not None:
            with writing(self.options.heatmap) as file:
                file.writelines(picture.svg for picture in self.pictures(sample))

    def pictures(self, sample: LatencySample) -> Iterator[Picture]:
        """The times over time."""
        heat = self.history.heat
        if heat is not None:
            title, subtitle = f"Time in {' '.join(self.options.patterns)}", "how long calls took, by when they returned"
            columns = HeatMap(heat.columns, heat.ends, heat.start)
            yield Picture(title, heat_svg(columns, title=title, subtitle=subtitle))

    def metrics(self, instrument: Instrument[LatencySample], sample: LatencySample) -> Iterator[Family]:
        """The distribution of each function's times, and the calls that are under way."""
        from multiprobe.cli.latency_views import families

        return families(sample)

    def figures(self, sample: LatencySample) -> dict[str, object]:
        """The number of all calls, and their time."""
        total = sum(row.total for row in sample.rows)
        seconds = round(sample.seconds, 6)
        return {"calls": sample.n_calls, "running": sample.n_running, "total_ns": total, "seconds": seconds}

    def rows(self, sample: LatencySample, *, top: int = 0) -> Iterator[dict[str, object]]:
        """A row for each function, or function and task, that was called."""
        for row in rank(sample.rows, sort=self.options.sort, top=top):
            yield _to_json(row, self.history.names, by=self.options.by)

    def settings(self) -> dict[str, object]:
        """By what rows are grouped, and whether they have self times."""
        return {**super().settings(), "by": self.options.by, "self": self.options.has_self}

    def print(self, sample: LatencySample) -> None:
        """Print the functions in which most time was spent, and the number of all calls."""
        rows = rank(sample.rows, sort=self.options.sort, top=self.options.limit() or 0)
        self.results.table(self._table(rows), n_more=len(sample.rows) - len(rows))
        n_functions = len({row.function.address for row in sample.rows})
        calls, functions = plural_text(sample.n_calls, "call"), plural_text(n_functions, "function")
        self.results.lines([f"{calls} of {functions} in {sample.seconds:.2f} s"])
        if sample.n_running:
            self.results.lines([_running_line(sample)])

    def _table(self, rows: Sequence[Latency]) -> TextTable:
        return latency_table(rows, self.history.names, by=self.options.by, sort=self.options.sort)


class LatencyHistory:
    """What is recorded of the samples during the measurement: names of tasks, and the distribution over time."""

    def __init__(self, *, by: str | None, has_heat: bool, n_functions: int) -> None:
        self.names = TaskNames()
        self.by = by
        self.heat = OverTime(step=max(FINEST, n_functions / QUICK)) if has_heat else None

    def begin(self, sample: LatencySample) -> None:
        """Record from here on."""
        if self.heat is not None:
            self.heat.begin(sample.seconds, all_buckets(sample.rows))

    def add(self, sample: LatencySample, *, is_last: bool = False) -> None:
        """Record a sample."""
        if self.by:
            self.names.look({row.who for row in sample.rows})
        if self.heat is not None:
            self.heat.note(sample.seconds, all_buckets(sample.rows), is_last=is_last)


def _running_line(sample: LatencySample) -> str:
    n = sample.n_running
    by_name: dict[str, int] = {}
    for row in sample.rows:
        if row.running:
            by_name[str(row.function)] = by_name.get(str(row.function), 0) + row.running
    most = sorted(by_name.items(), key=lambda item: -item[1])
    names = ", ".join(f"{name} {count:,}" for name, count in most[:5]) + (", …" if len(most) > 5 else "")
    return f"{plural_text(n, 'call')} more {'was' if n == 1 else 'were'} not seen to return: {names}"


def _to_json(row: Latency, names: TaskNames, *, by: str | None) -> dict[str, object]:
    task = {"pid" if by == "process" else "tid": row.who, "name": names[row.who]} if by else {}
    return {
        "type": "function",
        **name_fields(row.function),
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


@measuring_command("latency", LatencyOptions, examples=EXAMPLES)
@click.option(
    "--self", "has_self", cls=SelectionOption, is_flag=True, help="Measure self time: without traced calls made."
)
@click.option("--by", cls=SelectionOption, type=click.Choice(BY), help="Separate the times by process or thread.")
@click.option(
    "--sort",
    cls=OutputOption,
    type=click.Choice(SORTS),
    default="total",
    show_default=True,
    metavar="KEY",
    help=f"Sort in descending order of {', '.join(SORTS)}.",
)
@click.option(
    "--heatmap", cls=OutputOption, type=OutputFile(), metavar="FILE", help="Write the times over time as SVG."
)
@top_option
@live_option
@metrics_option
@measuring_options
def command(options: LatencyOptions) -> LatencyMeasurement:
    """Time the calls of every selected function.

    For each function, shows the number of calls, their total, mean, median, 90th and 99th percentile and maximum, and
    their distribution. Calls are timed one by one, so recursion, preemption and migration to another CPU don't distort
    the times. Calls that did not return during the measurement are counted separately.
    """
    return LatencyMeasurement(options)

"""What `multiprobe latency` shows besides its table: the screen of `--live`, and the numbers of `--metrics`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.cli.latency_table import latency_table, times_of
from multiprobe.cli.live import History, Live
from multiprobe.cli.metrics import BY_FUNCTION, label_of
from multiprobe.instruments.latency.instrument import SORTS, add_buckets
from multiprobe.output.frame import LiveFrame, LiveRow
from multiprobe.output.histogram import log2_lines
from multiprobe.output.metrics import TimeFamily, single
from multiprobe.output.units import time_text
from multiprobe.plurals import plural_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from multiprobe.instruments.latency.instrument import CallTimer, Latency, LatencySample
    from multiprobe.instruments.task_names import TaskNames
    from multiprobe.output.metrics import Family


def make_screen(timer: CallTimer, names: TaskNames, *, sort: str, by: str | None) -> Live[LatencySample]:
    """The screen of `--live`: a row for each function, or function and task, and the distribution of one's times."""
    index_of = {(one.module, one.address): index for index, one in enumerate(timer.functions)}
    history = History()

    def order(row: Latency, last: str) -> tuple[float | str, ...]:
        return (row.calls, *times_of(row), row.mean, str(row.function), *([last] if by else []))

    def frame(sample: LatencySample, _before: LatencySample | None) -> LiveFrame:
        shown: dict[int, Latency] = {}
        table = latency_table(sample.rows, names, by=by, sort=sort)
        rows = []
        for row, cells in zip(sample.rows, table.rows, strict=True):
            index = index_of[row.function.module, row.function.address]
            key = index | row.who << 32
            shown[key] = row
            text = f"{row.function} {cells[-1]}" if by else str(row.function)
            rows.append(LiveRow(key, tuple(cells), order(row, cells[-1]), text, index))
        history.note(sample.seconds, {key: row.calls for key, row in shown.items()})
        attached = plural_text(timer.report.attached, "function")
        title = f"{attached} attached, {plural_text(len(rows), 'row')}, {sample.seconds:.0f} s"
        return LiveFrame(title, table.columns, rows, lambda key: details(shown.get(key)), history.recent)

    def details(row: Latency | None) -> list[str]:
        if row is None:
            return ["not called"]
        task = f", {row.who} {names[row.who]}" if by else ""
        about = f"{plural_text(row.calls, 'call')}, {time_text(row.total)} in all, {time_text(row.longest)} the longest"
        return [f"{row.function}{task}", "", about, *log2_lines(row.buckets, form=time_text)]

    titles = ["calls", "total", *(["self"] if timer.has_self else []), *SORTS[3:]]
    return Live(frame, timer.functions, titles.index(sort))


def families(sample: LatencySample) -> Iterator[Family]:
    """The distribution of each function's times, and the calls that are under way, as `--metrics` serves them."""
    times: dict[tuple[str, ...], tuple[list[int], int]] = {}
    for row in sample.rows:  # functions of the same name are added up
        buckets, total = times.get(label_of(row.function), ([], 0))
        times[label_of(row.function)] = add_buckets(buckets, row.buckets), total + row.total
    text, others = "How long calls took.", "multiprobe_other_calls"
    yield TimeFamily("multiprobe_call_duration_seconds", text, BY_FUNCTION, times, others=others)
    yield single("multiprobe_running_calls", "Calls that have not returned, or were missed.", sample.n_running)

"""What `multiprobe count` shows besides its table: the screen of `--live`, and the numbers of `--metrics`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.cli.live import History, Live
from multiprobe.cli.metrics import BY_FUNCTION, label_of, summed
from multiprobe.instruments.count import call_counts
from multiprobe.output.frame import LiveFrame, LiveRow
from multiprobe.output.metrics import NumberFamily
from multiprobe.plurals import plural_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from multiprobe.instruments.count import CallCount, CountSample
    from multiprobe.instruments.instrument import Instrument
    from multiprobe.output.metrics import Family
    from multiprobe.output.table import TextTable


def make_screen(
    instrument: Instrument[CountSample], tabulate: Callable[[Sequence[CallCount]], TextTable]
) -> Live[CountSample]:
    """The screen of `--live`: the rows of `tabulate`, and the recent rates of one."""
    history = History()
    functions = instrument.functions

    def frame(sample: CountSample, before: CountSample | None) -> LiveFrame:
        counts = call_counts(functions, sample, before=before)
        history.note(sample.seconds, {count.index: count.calls for count in counts})
        table = tabulate(counts)
        rows = [
            LiveRow(
                count.index, tuple(cells), (count.calls, count.rate, count.share, cells[-1]), cells[-1], count.index
            )
            for count, cells in zip(counts, table.rows, strict=True)
        ]
        attached = plural_text(instrument.report.attached, "function")
        title = f"{attached} attached, {len(rows):,} called, {sample.seconds:.0f} s"
        return LiveFrame(title, table.columns, rows, lambda index: details(index, sample), history.recent)

    def details(index: int, sample: CountSample) -> list[str]:
        rates = history.recent(index).rates
        last = f"{rates[-1]:,.1f} a second now, {max(rates):,.1f} at most" if rates else "no rate yet"
        calls = f"{plural_text(sample.totals[index], 'call')}, {last}"
        return [str(functions[index]), "", calls]

    return Live(frame, functions)


def families(counts: Iterable[CallCount]) -> Iterator[Family]:
    """The calls of each function, as `--metrics` serves them."""
    calls = summed((label_of(one.function), one.calls) for one in counts)
    yield NumberFamily("multiprobe_calls", "Calls by function.", BY_FUNCTION, calls, others="multiprobe_other_calls")

"""`multiprobe count`: calls per function.

Knows options, order of events and words; the counting itself is `instruments.count`. Imports click only when asked for
the click command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.cli.command import Asked, Command, Question
from multiprobe.cli.forms import print_table
from multiprobe.cli.live import History, Live
from multiprobe.cli.options import Option
from multiprobe.instruments.count import call_counts, count, start
from multiprobe.output.frame import LiveFrame, LiveRow
from multiprobe.output.histogram import sparkline
from multiprobe.output.table import Column, TextTable
from multiprobe.output.units import plural_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from multiprobe.cli.live import Live
    from multiprobe.functions.sets import FunctionSet
    from multiprobe.instruments.count import CallCount, Counting, Sample
    from multiprobe.output.table import TextTable

OWN = (Option("is_return", ("--return",), "flag", "Count returns, not entries.", default=False),)

HELP = """Count the calls of every function that a PATTERN matches.

PATTERN is a glob ('tcp_*'), a /regular expression/, module:pattern, an exact symbol or an address; !pattern excludes.
Counting ends after --duration, with COMMAND, or with Ctrl-C; meanwhile a terminal shows a live table. Calls from the
whole system are counted, also while a COMMAND runs, unless --pid or --command-only says otherwise.
"""

EXAMPLES = """\
Examples:
  multiprobe count 'tcp_*'                       until Ctrl-C
  multiprobe count 'vfs_*' '!vfs_fsync*' -d 10   ten seconds, without the ones excluded
  multiprobe count 'ext4:*' --json -- sync       while a command runs, for a script
  multiprobe count '*' --vm=6.12 -- ls -lR /usr  every function of a kernel in a virtual machine"""


class CountQuestion(Question):
    """How often is each function called?"""

    measuring: Counting

    def __init__(self, asked: Asked, *, is_return: bool) -> None:
        super().__init__(asked)
        self.when = "return" if is_return else "entry"

    @staticmethod
    def ahead(options: dict[str, Any]) -> tuple[Any, str]:
        """The one program that counts."""
        return count, "return" if options["is_return"] else "entry"

    def start(self, functions: FunctionSet, **options: Any) -> Counting:
        """Attach."""
        return start(functions, **options)

    def show(self) -> Callable[[Sample, Sample | None, int], TextTable]:
        """The functions called most since the sample before."""

        def show(sample: Sample, before: Sample | None, rows: int) -> TextTable:
            return _table(call_counts(self.measuring.functions, sample, before=before, top=rows))

        return show

    def screen(self) -> Live[Sample]:
        """All functions that were called, and how one's rate went."""
        return _make_screen(self.measuring)

    def figures(self, sample: Sample) -> dict[str, Any]:
        """All calls together."""
        return {"calls": sum(sample.totals), "seconds": round(sample.seconds, 6)}

    def rows(self, sample: Sample) -> Iterator[dict[str, Any]]:
        """A row for each function that was called."""
        return map(_to_json, self._counts(sample, top=self.asked.top or 0))

    def print(self, sample: Sample, report: dict[str, Any]) -> None:
        """A table of those called most, and all calls together."""
        counts = self._counts(sample, top=self.asked.limit() or 0)
        n_called = sum(1 for n in sample.totals if n)
        print_table(_table(counts), n_more=n_called - len(counts))
        calls, functions = plural_text(report["calls"], "call"), plural_text(n_called, "function")
        print(f"{calls} of {functions} in {report['seconds']:.2f} s")

    def _counts(self, sample: Sample, *, top: int) -> list[CallCount]:
        return call_counts(self.measuring.functions, sample, top=top)


def _make_screen(counting: Counting) -> Live[Sample]:
    """The full-screen view: all functions that were called, and how one's rate went."""
    history = History()
    functions = counting.functions

    def frame(sample: Sample, before: Sample | None) -> LiveFrame:
        history.note(sample.seconds, sample.totals)
        counts = call_counts(functions, sample, before=before)
        table = _table(counts)
        rows = [
            LiveRow(
                count.index, tuple(cells), (count.calls, count.rate, count.share, cells[-1]), cells[-1], count.index
            )
            for count, cells in zip(counts, table.rows, strict=True)
        ]
        title = f"{counting.report.attached:,} functions attached, {len(rows):,} called, {sample.seconds:.0f} s"
        return LiveFrame(title, table.columns, rows, lambda index: details(index, sample))

    def details(index: int, sample: Sample) -> list[str]:
        rates = history.rates(index)
        last = f"{rates[-1]:,.1f} a second now, {max(rates):,.1f} at most" if rates else "no rate yet"
        calls = f"{sample.totals[index]:,} calls, {last}"
        return [str(functions[index]), "", calls, sparkline([round(rate) for rate in rates])]

    return Live(frame, functions)


def _table(rows: Sequence[CallCount]) -> TextTable:
    columns = (Column("CALLS", True, 1), Column("RATE/S", True, 2), Column("SHARE", True, 3), Column("FUNCTION"))
    return TextTable(columns, [(f"{r.calls:,}", f"{r.rate:,.1f}", f"{r.share:.1%}", str(r.function)) for r in rows])


def _to_json(row: CallCount) -> dict[str, Any]:
    return {
        "type": "function",
        "function": row.function.name,
        "module": row.function.module,
        "address": f"{row.function.address:#x}",
        "calls": row.calls,
        "rate": round(row.rate, 3),
        "share": round(row.share, 6),
    }


COMMAND = Command("count", HELP, EXAMPLES, CountQuestion, OWN, ("top", "live"))

"""`multiprobe count`: the number of calls of each function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import click

from multiprobe.binaries.mixed import name_fields
from multiprobe.cli.measurement import Measurement
from multiprobe.cli.measuring_command import measuring_command
from multiprobe.cli.options import (
    MeasuringOptions,
    SelectionOption,
    live_option,
    measuring_options,
    metrics_option,
    top_option,
)
from multiprobe.instruments import count
from multiprobe.instruments.count import CallCount, CountSample, call_counts
from multiprobe.output.table import Column, TextTable
from multiprobe.output.units import percent_text
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
  multiprobe count 'tcp_*'                       until Ctrl-C
  multiprobe count 'vfs_*' '!vfs_fsync*' -d 10   for ten seconds, with an exclusion
  multiprobe count 'ext4:*' --json -- sync       while a command runs, for a script
  multiprobe count '*' --vm=6.12 -- ls -lR /usr  every function of a kernel in a virtual machine"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CountOptions(MeasuringOptions):
    """The options of `count`.

    Its program asks for no process: the helper that tells is a function of the kernel, which `count '*'` would call and
    miss at each hit.
    """

    always_own: ClassVar[bool] = True
    is_return: bool = False


class CountMeasurement(Measurement[CountOptions, CountSample]):
    """Counts calls."""

    has_table = True

    def __init__(self, options: CountOptions) -> None:
        super().__init__(options)
        self.when = "return" if options.is_return else "entry"

    def program_ahead(self) -> Program:
        """The program that counts."""
        return count.count

    def start(self, functions: AnyFunctionSet, options: AttachOptions) -> Instrument[CountSample]:
        """Attach and count."""
        return count.start(functions, when=self.when, **options)

    def table(self, sample: CountSample, before: CountSample | None, rows: int) -> TextTable:
        """The functions with the most calls, with their rates since the sample before."""
        return _table(call_counts(self.instrument.functions, sample, before=before, top=rows))

    def screen(self) -> Live[CountSample]:
        """All functions that were called, and the recent rates of one."""
        from multiprobe.cli.count_views import make_screen

        return make_screen(self.instrument, _table)

    def metrics(self, instrument: Instrument[CountSample], sample: CountSample) -> Iterator[Family]:
        """The calls of each function."""
        from multiprobe.cli.count_views import families

        return families(call_counts(instrument.functions, sample))

    def figures(self, sample: CountSample) -> dict[str, object]:
        """The number of all calls."""
        return {"calls": sample.n_calls, "seconds": round(sample.seconds, 6)}

    def rows(self, sample: CountSample, *, top: int = 0) -> Iterator[dict[str, object]]:
        """A row for each function that was called."""
        return map(_to_json, self._counts(sample, top=top))

    def print(self, sample: CountSample) -> None:
        """Print the functions with the most calls, and the number of all calls."""
        counts = self._counts(sample, top=self.options.limit() or 0)
        self.results.table(_table(counts), n_more=sample.n_called - len(counts))
        calls, functions = plural_text(sample.n_calls, "call"), plural_text(sample.n_called, "function")
        self.results.lines([f"{calls} of {functions} in {sample.seconds:.2f} s"])

    def _counts(self, sample: CountSample, *, top: int) -> list[CallCount]:
        return call_counts(self.instrument.functions, sample, top=top)


def _table(rows: Sequence[CallCount]) -> TextTable:
    columns = (Column("CALLS", True, 1), Column("RATE/S", True, 2), Column("SHARE", True, 3), Column("FUNCTION"))
    cells = [(f"{r.calls:,}", f"{r.rate:,.1f}", percent_text(r.share), str(r.function)) for r in rows]
    return TextTable(columns, cells)


def _to_json(row: CallCount) -> dict[str, object]:
    return {
        "type": "function",
        **name_fields(row.function),
        "address": f"{row.function.address:#x}",
        "calls": row.calls,
        "rate": round(row.rate, 3),
        "share": round(row.share, 6),
    }


@measuring_command("count", CountOptions, examples=EXAMPLES)
@click.option("--return", "is_return", cls=SelectionOption, is_flag=True, help="Count returns instead of entries.")
@top_option
@live_option
@metrics_option
@measuring_options
def command(options: CountOptions) -> CountMeasurement:
    """Count the calls of every selected function.

    During the measurement, a terminal shows a table of the functions with the most calls.
    """
    return CountMeasurement(options)

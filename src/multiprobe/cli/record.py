"""`multiprobe record`: a flight recorder, which writes the last calls before a condition held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from multiprobe.binaries.mixed import name_fields
from multiprobe.cli.measurement import Measurement
from multiprobe.cli.measuring_command import measuring_command
from multiprobe.cli.options import MeasuringOptions, OutputOption, StoppingOption, measuring_options, perfetto_option
from multiprobe.cli.params import Duration, WholeNumber
from multiprobe.cli.perfetto_files import write_trace
from multiprobe.cli.record_tracks import tracks
from multiprobe.cli.trace import HEADING, INDENT, ShownTrace
from multiprobe.instruments.record.instrument import EVERY, FlightRecorder, Recording, start
from multiprobe.instruments.record.program import DEFAULT_RECORDS, MAX_RECORDS
from multiprobe.output.units import time_text
from multiprobe.plurals import plural_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.instruments.instrument import AttachOptions
    from multiprobe.instruments.trace.instrument import TracedCall

EXAMPLES = """\
Examples:
  multiprobe record 'ext4_*' 'vfs_*' --until 'ret == -ENOSPC'        what led to a full disk
  multiprobe record 'blk_*' --until 'duration > 50ms' --last 2s      the two seconds before a slow call
  multiprobe record 'tcp_*' --until 'ret == -ECONNRESET' --json -o reset.json
  multiprobe record 'vfs_*' --perfetto last.pftrace -- ./flaky-test  for ui.perfetto.dev
  multiprobe record 'vfs_*' --last 1s -- ./flaky-test                what a command did last"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordOptions(MeasuringOptions):
    """The options of `record`."""

    until: str | None = None
    last: float | None = None
    records: int = DEFAULT_RECORDS
    perfetto: str | None = None


class RecordMeasurement(Measurement[RecordOptions, Recording]):
    """Records calls."""

    when = "session"
    every = EVERY
    instrument: FlightRecorder

    def start(self, functions: AnyFunctionSet, options: AttachOptions) -> FlightRecorder:
        """Attach and record."""
        own = self.options
        return start(functions, until=own.until, last=own.last, records=own.records, **options)

    def finish(self, sample: Recording) -> None:
        """Write the file of `--perfetto`."""
        if self.options.perfetto is not None:
            write_trace(self.options.perfetto, tracks(sample.calls))

    def figures(self, sample: Recording) -> dict[str, object]:
        """What was recorded, and whether the condition held."""
        held = sample.held
        return {
            "calls": len(sample.calls),
            "overwritten": sample.overwritten,
            "until": self.options.until,
            "held": None if held is None else {"time_ns": held.time, "begin": held.begin, **self._function(sample)},
            "seconds": round(sample.seconds, 6),
        }

    def _function(self, sample: Recording) -> dict[str, str]:
        assert sample.held is not None
        function = self.instrument.functions[sample.held.function]
        return name_fields(function)

    def rows(self, sample: Recording, *, top: int = 0) -> Iterator[dict[str, object]]:
        """A row for each call."""
        return map(ShownTrace(most=None, is_kept=False).to_json, sample.calls)

    def print(self, sample: Recording) -> None:
        """Print all calls, and whether the condition held."""
        shown = ShownTrace(most=None, is_kept=False)
        self.results.lines([HEADING, *(line for call in sample.calls for line in shown.lines(call)), ""], hang=INDENT)
        self.results.lines(_summary(sample, self.options.until, sample.held_call))


def _summary(sample: Recording, until: str | None, held: TracedCall | None) -> Iterator[str]:
    if held is not None:
        after = "" if held.duration is None else f", {time_text(held.duration)} after its beginning"
        yield f"{until}: in the call of {held.function} at {held.time:.6f} by {held.comm}[{held.tid}]{after}"
    elif sample.held is not None:
        yield f"{until}: in a call that is not recorded"
    elif until is not None:
        yield f"{until}: never"
    before = f", {sample.overwritten:,} earlier records overwritten" if sample.overwritten else ""
    yield f"{plural_text(len(sample.calls), 'call')} recorded{before}, after {sample.seconds:.2f} s"


@measuring_command("record", RecordOptions, examples=EXAMPLES)
@click.option(
    "--until",
    cls=StoppingOption,
    metavar="CONDITION",
    help="Stop when the expression is true for a call; as a filter of trace.",
)
@click.option(
    "--last", cls=OutputOption, type=Duration(), metavar="TIME", help="Print only the calls of the TIME before the end."
)
@click.option(
    "--records",
    cls=StoppingOption,
    type=WholeNumber(2, MAX_RECORDS),
    default=DEFAULT_RECORDS,
    show_default=True,
    metavar="N",
    help="Room for N entries and returns on each CPU.",
)
@perfetto_option
@measuring_options
def command(options: RecordOptions) -> RecordMeasurement:
    """Record all calls of the selected functions in memory, and print the last ones when a condition holds.

    Each CPU has a ring of records, of which the newest overwrite the oldest: nothing is read and nothing is printed
    until CONDITION is true for a call, or the measurement ends otherwise. The program itself stops the rings at that
    call, so that what led to it is not overwritten. CONDITION is a Python expression that is compiled into the probe,
    with the names that filters of trace have: ret, duration, arguments by name, pid, tid, comm, cpu, errnos and flags.
    """
    return RecordMeasurement(options)

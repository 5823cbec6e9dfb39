"""`multiprobe errors`: failed calls, the first to fail, and the path of the error."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import click

from multiprobe.binaries.mixed import binary_parts, name_fields
from multiprobe.cli.live import History, Live
from multiprobe.cli.measurement import Measurement
from multiprobe.cli.measuring_command import measuring_command
from multiprobe.cli.metrics import BY_FUNCTION, label_of, summed
from multiprobe.cli.options import (
    MeasuringOptions,
    OutputOption,
    SelectionOption,
    live_option,
    measuring_options,
    metrics_option,
    top_option,
)
from multiprobe.cli.params import Parsed
from multiprobe.errors import UsageError
from multiprobe.instruments.errors import instrument as errors
from multiprobe.instruments.errors.failures import error_name, parse_errors
from multiprobe.instruments.errors.instrument import ErrorsSample, FailureCollector
from multiprobe.instruments.errors.program import make_program
from multiprobe.output.frame import LiveFrame, LiveRow
from multiprobe.output.metrics import NumberFamily
from multiprobe.output.table import Column, TextTable
from multiprobe.plurals import plural_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.compiler.program import Program
    from multiprobe.instruments.errors.failures import FailedCall, FailureGroup, Kind
    from multiprobe.instruments.instrument import AttachOptions, Instrument
    from multiprobe.output.metrics import Family

EXAMPLES = """\
Examples:
  multiprobe errors 'ext4_*' 'jbd2_*' -d 10            a file system, for ten seconds
  multiprobe errors 'vfs_*' 'shmem_*' -- cp big /tmp   why a command fails
  multiprobe errors 'tcp_*' 'inet_*' --deny EAGAIN     without an expected error
  multiprobe errors 'do_*mount*' --each --unhandled    each failure separately, with arguments"""

EVERY = 0.2
N_ARGUMENTS = 6
_SHOWN_PATH = 100
_DEEPEST = 20


class ErrorNames(Parsed[frozenset[str]]):
    """Names of errors, separated by commas."""

    name = "errors"

    def parse(self, text: str) -> frozenset[str]:
        try:
            return parse_errors([text])
        except ValueError as error:
            raise ValueError(f"unknown error {error}: use names such as ENOENT,EAGAIN, or NULL") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorsOptions(MeasuringOptions):
    """The options of `errors`."""

    each: bool = False
    allow: tuple[frozenset[str], ...] = ()
    deny: tuple[frozenset[str], ...] = ()
    unhandled: bool = False

    def __post_init__(self) -> None:
        MeasuringOptions.__post_init__(self)
        if self.each and self.live:
            raise UsageError("--each and --live exclude each other: both use the terminal")


class ErrorsMeasurement(Measurement[ErrorsOptions, ErrorsSample]):
    """Collects failed calls."""

    when = "session"
    every = EVERY
    uses_types = True
    instrument: FailureCollector

    def __init__(self, options: ErrorsOptions) -> None:
        super().__init__(options)
        self.has_table = not options.each
        self._kept: list[FailedCall] = []

    def program(self, functions: AnyFunctionSet) -> Program:
        """The program."""
        return make_program(n_arguments=self._n_arguments, is_each=self.options.each)

    @property
    def _n_arguments(self) -> int:
        return N_ARGUMENTS if self.options.each or self.options.live else 0

    def start(self, functions: AnyFunctionSet, options: AttachOptions) -> FailureCollector:
        """Attach and collect failures."""
        return self._start(functions, options, on_failure=self._print_failure if self.options.each else None)

    def start_later(self, functions: AnyFunctionSet, options: AttachOptions) -> FailureCollector:
        """The same, without printing each failure."""
        return self._start(functions, options, on_failure=None)

    def _start(
        self, functions: AnyFunctionSet, options: AttachOptions, *, on_failure: Callable[[FailedCall], None] | None
    ) -> FailureCollector:
        own = self.options
        return errors.start(
            functions,
            allow=frozenset().union(*own.allow),
            deny=frozenset().union(*own.deny),
            unhandled=own.unhandled,
            n_arguments=self._n_arguments,
            on_failure=on_failure,
            **options,
        )

    def table(self, sample: ErrorsSample, before: ErrorsSample | None, rows: int) -> TextTable:
        """The largest groups of failures."""
        return TextTable(_columns(), [_cells(self.instrument, group) for group in sample.groups[:rows]])

    def screen(self) -> Live[ErrorsSample]:
        """All groups of equal failures; of one, its path and an example with arguments."""
        return _make_screen(self.instrument)

    def metrics(self, instrument: Instrument[ErrorsSample], sample: ErrorsSample) -> Iterator[Family]:
        """Failures by the function that failed first, errno and outcome."""
        functions = instrument.functions
        failures = summed((_labels(functions, group.example), group.count) for group in sample.groups)
        text, labels = "Failed calls, by the function that failed first.", (*BY_FUNCTION, "errno", "outcome")
        yield NumberFamily("multiprobe_failures", text, labels, failures, others="multiprobe_other_failures")

    def figures(self, sample: ErrorsSample) -> dict[str, object]:
        """The numbers of failures."""
        return {
            "failures": sample.n_failures,
            "left_out": sample.n_left_out,
            "untyped": self.instrument.n_untyped,
            "seconds": round(sample.seconds, 6),
        }

    def rows(self, sample: ErrorsSample, *, top: int = 0) -> Iterator[dict[str, object]]:
        """A row for each failure with --each, else for each group of equal failures."""
        if self.options.each:
            return (_failure_json(self.instrument, failure) for failure in self._kept)
        return self._groups(sample, top=top)

    def json(self, sample: ErrorsSample) -> Iterator[dict[str, object]]:
        """The groups of equal failures; single ones have been printed."""
        return self._groups(sample, top=self.options.top or 0)

    def saved_rows(self, sample: ErrorsSample) -> Iterator[dict[str, object]]:
        """With --each every failure; then the groups."""
        return chain(self.rows(sample) if self.options.each else (), self._groups(sample))

    def settings(self) -> dict[str, object]:
        """Which failures are left out."""
        own = self.options
        names = {"allow": sorted(frozenset().union(*own.allow)), "deny": sorted(frozenset().union(*own.deny))}
        return {**super().settings(), **names, "unhandled": own.unhandled}

    def _groups(self, sample: ErrorsSample, *, top: int = 0) -> Iterator[dict[str, object]]:
        return (_group_json(self.instrument, group) for group in sample.groups[: top or None])

    def print(self, sample: ErrorsSample) -> None:
        """Print the largest groups, each with its path, and the number of all failures."""
        groups = sample.groups[: self.options.limit()]
        self.results.lines(_group_lines(self.instrument, groups))
        if n_more := len(sample.groups) - len(groups):
            self.results.lines([f"… and {plural_text(n_more, 'group')} more (--top 0 shows all)"])
        self.results.lines([""] if groups else [])
        left = f", {sample.n_left_out:,} left out" if sample.n_left_out else ""
        kinds = plural_text(len(sample.groups), "kind")
        self.results.lines([f"{plural_text(sample.n_failures, 'failure')} of {kinds} in {sample.seconds:.2f} s{left}"])
        if n := self.instrument.n_untyped:
            functions = plural_text(n, "function")
            self.results.lines([f"{functions} without type information: shown on paths, but never as failing"])
        if n := sum(part.prototypes().count(None) for _, part in binary_parts(self.instrument.functions)):
            functions = plural_text(n, "function")
            self.results.lines(
                [f"{functions} of programs without types: a result that is a negative int counts as a failure"]
            )

    def _print_failure(self, failure: FailedCall) -> None:
        """Print a failure when it has ended, and keep it for a table."""
        if self.options.keeps_rows:
            self._kept.append(failure)
        if self.options.json:
            self.results.json([_failure_json(self.instrument, failure)])
        elif self.options.is_text:
            self.results.lines(_failure_lines(self.instrument, failure))


def _labels(functions: AnyFunctionSet, failure: FailedCall) -> tuple[str, ...]:
    """The labels of a failure's metric."""
    function = ("?", "") if failure.first is None else label_of(functions[failure.first])
    return (*function, _error(failure), _outcome_word(failure))


def _make_screen(collector: FailureCollector) -> Live[ErrorsSample]:
    numbers: dict[Kind, int] = {}
    columns = _columns()
    history = History("failures a second")

    def row(group: FailureGroup) -> LiveRow:
        f = group.example
        number = numbers.setdefault(f.kind, len(numbers))
        count, *texts = _cells(collector, group)
        text = f"{' '.join(texts[:-1])} {_path(collector, f)}"
        return LiveRow(number, (count, *texts), (group.count, *texts), text, f.first)

    def frame(sample: ErrorsSample, _before: ErrorsSample | None) -> LiveFrame:
        n = sample.n_failures
        attached = plural_text(collector.report.attached, "function")
        title = f"{attached} attached, {plural_text(n, 'failure')}, {sample.seconds:.0f} s"
        rows = [row(group) for group in sample.groups]
        groups = {row.key: group for row, group in zip(rows, sample.groups, strict=True)}
        history.note(sample.seconds, {key: group.count for key, group in groups.items()})
        return LiveFrame(title, columns, rows, lambda key: details(groups.get(key)), history.recent)

    def details(group: FailureGroup | None) -> list[str]:
        if group is None:
            return ["not seen any more"]
        f = group.example
        path = [_name(collector, index) for index in f.path]
        ways = [f"{'  ' * min(depth, _DEEPEST)}{name}" for depth, name in enumerate((["…"] if f.is_cut else []) + path)]
        how_often = f"{plural_text(group.count, 'time')} {_error(f)}, {_outcome(collector, f)}"
        example = f"{f.name}[{f.tid}]: {_call(collector, f)}"
        return [_name(collector, f.first), "", how_often, "", *ways, "", "the first one:", example]

    return Live(frame, collector.functions)


def _failure_lines(collector: FailureCollector, failure: FailedCall) -> Iterator[str]:
    task = f"{failure.name}[{failure.tid}]"
    yield f"{task}: {_error(failure)} from {_call(collector, failure)}, {_outcome(collector, failure)}"
    yield f"    {_path(collector, failure)}"


def _call(collector: FailureCollector, failure: FailedCall) -> str:
    """The call that failed first, with its arguments."""
    arguments = ", ".join(f"{name}={item}" for name, item in collector.arguments(failure).items())
    return f"{_name(collector, failure.first)}({arguments})"


def _group_lines(collector: FailureCollector, groups: Sequence[FailureGroup]) -> Iterator[str]:
    width = max((len(f"{group.count:,}") for group in groups), default=0)
    for group in groups:
        f = group.example
        yield f"{group.count:>{width},}  {_error(f)} from {_name(collector, f.first)}, {_outcome(collector, f)}"
        yield f"{'':{width}}  {_path(collector, f)}"


def _error(failure: FailedCall) -> str:
    return error_name(failure.error)


def _name(collector: FailureCollector, index: int | None) -> str:
    return "?" if index is None else str(collector.functions[index])


def _path(collector: FailureCollector, failure: FailedCall) -> str:
    names = [_name(collector, index) for index in failure.path]
    return " > ".join(["…", *names] if failure.is_cut else names)


def _outcome(collector: FailureCollector, failure: FailedCall) -> str:
    if failure.end is None:
        return "its end was not seen"
    if failure.is_handled:
        return f"handled by {_name(collector, failure.end)}"
    return f"returned by {_name(collector, failure.end)} as {error_name(failure.end_error)}"


def _outcome_word(failure: FailedCall) -> str:
    return "unknown" if failure.end is None else "handled" if failure.is_handled else "returned"


def _columns() -> tuple[Column, ...]:
    return (
        Column("COUNT", True, 1),
        Column("ERROR"),
        Column("FIRST TO FAIL"),
        Column("OUTCOME", drop=2),
        Column("PATH", drop=3),
    )


def _cells(collector: FailureCollector, group: FailureGroup) -> list[str]:
    f = group.example
    path = _path(collector, f)
    short = path if len(path) <= _SHOWN_PATH else f"… {path[-_SHOWN_PATH:]}"
    return [f"{group.count:,}", _error(f), _name(collector, f.first), _outcome(collector, f), short]


def _group_json(collector: FailureCollector, group: FailureGroup) -> dict[str, object]:
    return {"type": "group", "count": group.count, **_common_json(collector, group.example)}


def _failure_json(collector: FailureCollector, failure: FailedCall) -> dict[str, object]:
    return {
        "type": "failure",
        "time_ns": failure.time,
        "pid": failure.pid,
        "tid": failure.tid,
        "name": failure.name,
        **_common_json(collector, failure),
        "arguments": collector.arguments(failure),
    }


def _common_json(collector: FailureCollector, failure: FailedCall) -> dict[str, object]:
    first = None if failure.first is None else collector.functions[failure.first]
    symbol = {} if first is None else {name: known for name, known in name_fields(first).items() if name == "symbol"}
    return {
        "error": _error(failure),
        "first": _name(collector, failure.first),
        **symbol,
        "path": [_name(collector, index) for index in failure.path],
        "is_cut": failure.is_cut,
        "outcome": _outcome_word(failure),
        "end": None if failure.end is None else _name(collector, failure.end),
        "end_error": error_name(failure.end_error) if failure.end_error else None,
    }


@measuring_command("errors", ErrorsOptions, examples=EXAMPLES)
@click.option(
    "--allow",
    cls=SelectionOption,
    type=ErrorNames(),
    multiple=True,
    metavar="NAMES",
    help="Collect only these errors (ENOSPC,EIO; NULL); repeatable.",
)
@click.option(
    "--deny",
    cls=SelectionOption,
    type=ErrorNames(),
    multiple=True,
    metavar="NAMES",
    help="Ignore these errors (ENOENT,EAGAIN; NULL); repeatable.",
)
@click.option("--unhandled", cls=SelectionOption, is_flag=True, help="Only failures that no traced function handled.")
@click.option("--each", cls=OutputOption, is_flag=True, help="Print each failure when it happens, with arguments.")
@top_option
@live_option
@metrics_option
@measuring_options
def command(options: ErrorsOptions) -> ErrorsMeasurement:
    """Find failed calls of the selected functions, and the function that failed first.

    A call fails if it returns a negative errno (int, long), or NULL or an errno in a pointer, by the kernel's types and
    those of programs (DWARF).
    The first to fail is the innermost traced call; its failure propagates as long as its callers return errors, too.
    Equal failures are counted together: by error, first function, path of the error, and the function where it ended.
    """
    return ErrorsMeasurement(options)

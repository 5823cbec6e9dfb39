"""`multiprobe trace`: a line for each call."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import click

from multiprobe.binaries.mixed import has_kernel_types, name_fields
from multiprobe.binaries.usdt import has_returns
from multiprobe.cells import left
from multiprobe.cli.measurement import Measurement
from multiprobe.cli.measuring_command import measuring_command
from multiprobe.cli.options import MeasuringOptions, OutputOption, SelectionOption, StoppingOption, measuring_options
from multiprobe.cli.params import POSITIVE, Parsed, WholeNumber
from multiprobe.instruments.trace import instrument as trace
from multiprobe.instruments.trace.describe import MAX_DEPTH, Wanted, is_path
from multiprobe.instruments.trace.filter import Filter
from multiprobe.instruments.trace.instrument import TracedCall
from multiprobe.instruments.trace.program import TraceProbe
from multiprobe.names import printable
from multiprobe.output.units import time_text
from multiprobe.output.values import spell
from multiprobe.plurals import plural_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.compiler.program import Program
    from multiprobe.instruments.instrument import AttachOptions, Instrument

EXAMPLES = """\
Examples:
  multiprobe trace 'vfs_*' --filter 'ret < 0' -- ls /nowhere     calls that fail, with their errno
  multiprobe trace __x64_sys_openat --args filename -d 10        the names of opened files
  multiprobe trace vfs_read --filter 'count > 65536'             filter by an argument's name
  multiprobe trace '__x64_sys_*' --filter 'ret == -ENOENT and comm == "ls"' --json -- ls /
  multiprobe trace tcp_sendmsg --filter 'sk.__sk_common.skc_dport == 443'   filter by a member
  multiprobe trace vfs_write --args file.f_path.dentry.d_name.name,count --filter 'ret != count'
  multiprobe trace vfs_open --depth 1 --stack --max-events 10               whole structs, and the callers"""

HEADING = f"{'TIME':>12}  CPU  {'PID':>7}  {'COMMAND':15}  CALL"
INDENT = 48
EVERY = 0.1
"""Seconds between two reads of the ring buffers."""


class ArgumentPaths(Parsed[tuple[str, ...]]):
    """Names of arguments and paths of members, separated by commas."""

    name = "arguments"

    def parse(self, text: str) -> tuple[str, ...]:
        paths = tuple(part.strip() for part in text.split(","))
        for path in paths:
            if not is_path(path):
                raise ValueError(f"invalid argument name {path!r}: use names and members, count,file.f_pos")
        return paths


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceOptions(MeasuringOptions):
    """The options of `trace`."""

    filter: str | None = None
    entry: bool = False
    args: tuple[str, ...] | None = None
    depth: int | None = None
    stack: bool = False
    max_events: int | None = None


class TraceMeasurement(Measurement[TraceOptions, list[TracedCall]]):
    """Prints calls as they come."""

    every = EVERY
    is_looking = True
    uses_types = True

    def __init__(self, options: TraceOptions) -> None:
        super().__init__(options)
        self.when = "entry" if options.entry else "session"
        self.shown = ShownTrace(most=options.max_events, is_kept=options.keeps_rows)

    def adapt(self, functions: AnyFunctionSet) -> None:
        """Trace entries where there are no returns."""
        if not has_returns(functions):
            self.when = "entry"

    def program(self, functions: AnyFunctionSet) -> Program:
        """The program, as it is without a filter."""
        own = self.options
        probe = TraceProbe(
            Filter(),
            entries_only=self.when == "entry",
            size=trace.RING_SIZE,
            has_stacks=own.stack,
            has_types=has_kernel_types(functions),
        )
        return probe.program

    def start(self, functions: AnyFunctionSet, options: AttachOptions) -> Instrument[list[TracedCall]]:
        """Attach and trace."""
        own = self.options
        return trace.start(
            functions,
            filter=own.filter,
            wanted=Wanted(own.depth, own.args),
            entries_only=self.when == "entry",
            has_stacks=own.stack,
            **options,
        )

    def begin(self) -> None:
        """Print the heading."""
        if self.options.is_text:
            self.results.lines([HEADING])

    def look(self, sample: list[TracedCall]) -> bool:
        """Print calls. True after the last one that is wanted."""
        chosen = self.shown.add(sample)
        if self.options.json:
            self.results.json(map(self.shown.to_json, chosen))
        elif self.options.is_text:
            self.results.lines(chain.from_iterable(map(self.shown.lines, chosen)), hang=INDENT)
        return self.shown.is_full

    def finish(self, sample: list[TracedCall]) -> None:
        """Print the last calls."""
        self.look(sample)

    def figures(self, sample: list[TracedCall]) -> dict[str, object]:
        """The number of all calls."""
        return {"calls": self.shown.n}

    def rows(self, sample: list[TracedCall], *, top: int = 0) -> Iterator[dict[str, object]]:
        """A row for each call."""
        return map(self.shown.to_json, self.shown.kept)

    def json(self, sample: list[TracedCall]) -> Sequence[dict[str, object]]:
        """Nothing: all calls have been printed."""
        return ()

    def print(self, sample: list[TracedCall]) -> None:
        """Print the number of all calls."""
        self.results.lines(["", plural_text(self.shown.n, "call")])


class ShownTrace:
    """The calls shown so far, at most `most`; kept if `is_kept`."""

    def __init__(self, *, most: int | None, is_kept: bool) -> None:
        self.most = most
        self.n = 0
        self.kept: list[TracedCall] = []
        self._is_kept = is_kept

    @property
    def is_full(self) -> bool:
        return self.most is not None and self.n >= self.most

    def add(self, calls: Sequence[TracedCall]) -> Sequence[TracedCall]:
        """Add calls; returns those that are still wanted."""
        chosen = calls if self.most is None else calls[: self.most - self.n]
        self.n += len(chosen)
        if self._is_kept:
            self.kept += chosen
        return chosen

    def lines(self, call: TracedCall) -> Iterator[str]:
        """A call as text: a line, and below it a line for each caller."""
        name = left(printable(call.comm), 15)
        line = f"{call.time:12.6f}  {call.cpu:3}  {call.tid:7}  {name}  {call.function}({_arguments(call)})"
        if call.duration is not None:
            returned = "" if call.returned is None else f" = {_spelled(call)}"
            line = f"{line}{returned}  [{time_text(call.duration)}]"
        yield line
        if call.stack is not None:
            yield from (f"{'':{INDENT}}{frame}" for frame in call.stack or ("(no stack could be taken)",))

    def to_json(self, call: TracedCall) -> dict[str, object]:
        """A call as a JSON object."""
        found: dict[str, object] = {
            "type": "call",
            **name_fields(call.function),
            "thread": call.tid,
            "process": call.pid,
            "name": call.comm,
            "cpu": call.cpu,
            "begin": call.begin,
            "end": None if call.duration is None else call.begin + call.duration,
            "duration": call.duration,
            "arguments": dict(call.arguments),
            "members": dict(call.members),
            "returned": call.returned,
        }
        return found if call.stack is None else found | {"stack": list(call.stack)}


def _arguments(call: TracedCall) -> str:
    """The arguments as in C; the members behind a pointer follow an `&`, in place of its address."""
    if not call.members:
        return ", ".join([f"{name}={spell(item)}" for name, item in call.arguments])
    return ", ".join(
        [
            f"{name}=&{spell(call.members[name])}" if name in call.members else f"{name}={spell(item)}"
            for name, item in call.arguments
        ]
    )


def _spelled(call: TracedCall) -> str:
    """The returned value; an errno with its number."""
    if isinstance(call.returned, str) and call.returned.startswith("-E") and call.raw is not None:
        return f"{call.raw} ({call.returned[1:]})"
    return str(call.returned)


@measuring_command("trace", TraceOptions, examples=EXAMPLES)
@click.option(
    "--filter",
    "-f",
    cls=SelectionOption,
    metavar="EXPRESSION",
    help="Trace only calls for which the expression is true.",
)
@click.option("--entry", cls=SelectionOption, is_flag=True, help="Print calls when they begin, without their results.")
@click.option(
    "--args", cls=OutputOption, type=ArgumentPaths(), metavar="A,B.C", help="Print only these arguments or members."
)
@click.option(
    "--depth",
    cls=OutputOption,
    type=WholeNumber(0, MAX_DEPTH),
    metavar="N",
    help="Print structs behind arguments, N pointers deep; 0 prints addresses.",
)
@click.option("--stack", cls=OutputOption, is_flag=True, help="Print the kernel's stack below each call.")
@click.option("--max-events", cls=StoppingOption, type=POSITIVE, metavar="N", help="Stop after N calls.")
@measuring_options
def command(options: TraceOptions) -> TraceMeasurement:
    """Print every call of the selected functions: time, CPU, process, arguments, result, duration.

    Arguments and results are decoded by the kernel's types: signed numbers, enums, flags and errnos by name, strings in
    quotes, pointers in hexadecimal. Of well-known structs (files, dentries, sockets, …), identifying members are
    printed; --depth prints all members, --args the given ones. Of the wrapper of a system call (__x64_sys_*), the
    system call's own arguments are printed.

    --filter is a Python expression that is compiled into the probe. It can use arguments and their members by name,
    arg0 … arg11, ret, duration (nanoseconds), pid, tid, comm, cpu, and errnos and flags by name. Strings are compared
    with == and in.
    """
    return TraceMeasurement(options)

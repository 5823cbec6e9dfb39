"""`multiprobe trace`: one line for each call.

Knows options, order of events and words; the tracing itself is `instruments.trace`.
"""

from __future__ import annotations

import sys

from multiprobe.cli.command import Asked, Command, Question
from multiprobe.cli.forms import print_json
from multiprobe.cli.options import Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from multiprobe.functions.sets import FunctionSet
    from multiprobe.instruments.trace import Call, Tracing

OWN = (
    Option("filter", ("--filter", "-f"), "text", "Only calls for which this Python expression holds.", "EXPRESSION"),
    Option("entry", ("--entry",), "flag", "Show calls as they begin, without what they return.", default=False),
    Option("args", ("--args",), "text", "Only these arguments, by name.", "a,b"),
    Option("max_events", ("--max-events",), "natural", "Stop after N calls.", "N"),
)

HELP = """Show every call of the functions that a PATTERN matches: time, CPU, process, arguments, result, duration.

Arguments and results are spelled as the kernel's types say: numbers with their sign, enums and errnos by name, texts in
quotes, pointers in hexadecimal. Of a system call's wrapper (__x64_sys_*) the system call's own arguments are shown.
--filter takes a Python expression that is compiled into the probe: arg0 to arg5, parameters by name, ret, duration (in
nanoseconds), pid, tid, comm, cpu, and errnos by name. Ends after --duration or --max-events, with COMMAND, or with
Ctrl-C.
"""

EXAMPLES = """\
Examples:
  multiprobe trace 'vfs_*' --filter 'ret < 0' -- ls /nowhere     what fails, and with which errno
  multiprobe trace __x64_sys_openat --args filename -d 10        which files are opened
  multiprobe trace vfs_read --filter 'count > 65536'             by a parameter's name
  multiprobe trace '__x64_sys_*' --filter 'ret == -ENOENT and comm == "ls"' --json -- ls /"""

EVERY = 0.1
"""Seconds between looks at what has come."""


class TraceQuestion(Question):
    """What calls are there, with which arguments and results?"""

    every = EVERY
    is_looking = True
    measuring: Tracing

    def __init__(
        self, asked: Asked, *, filter: str | None, entry: bool, args: str | None, max_events: int | None
    ) -> None:
        super().__init__(asked)
        self.when = "entry" if entry else "session"
        self.options: dict[str, Any] = {"filter": filter, "entries_only": entry}
        names = None if args is None else args.split(",")
        self.shown = Shown(names=names, most=max_events, is_kept=asked.forms.is_table)

    def start(self, functions: FunctionSet, **options: Any) -> Tracing:
        """Attach."""
        from multiprobe.instruments import trace

        return trace.start(functions, **self.options, **options)

    def begin(self) -> None:
        """The line above all calls."""
        if self.asked.forms.is_text:
            print(f"{'TIME':>12}  CPU  {'PID':>7}  {'COMMAND':15}  CALL", flush=True)

    def look(self, calls: Sequence[Call]) -> bool:
        """Print calls. Was that all that is wanted?"""
        chosen = self.shown.take(calls)
        if self.asked.forms.json:
            print_json(map(self.shown.to_json, chosen))
        elif self.asked.forms.is_text:
            sys.stdout.writelines(f"{self.shown.line(call)}\n" for call in chosen)
            sys.stdout.flush()
        return self.shown.is_full

    def finish(self, calls: Sequence[Call]) -> None:
        """Print the last calls."""
        self.look(calls)

    def figures(self, _: Sequence[Call]) -> dict[str, Any]:
        """All calls together."""
        return {"calls": self.shown.n}

    def rows(self, _: Sequence[Call]) -> Iterator[dict[str, Any]]:
        """A row for each call."""
        return map(self.shown.to_json, self.shown.kept)

    def json(self, _: Sequence[Call]) -> Sequence[dict[str, Any]]:
        """All calls were printed when they came."""
        return ()

    def print(self, _: Sequence[Call], report: dict[str, Any]) -> None:
        """How many."""
        from multiprobe.output.units import plural_text

        print(f"\n{plural_text(report['calls'], 'call')}")


class Shown:
    """What was shown so far: at most `most` calls, of whose arguments only those in `names` (None: all)."""

    def __init__(self, *, names: Sequence[str] | None, most: int | None, is_kept: bool) -> None:
        self.names = None if names is None else {name.strip() for name in names}
        self.most = most
        self.n = 0
        self.kept: list[Call] = []
        self._is_kept = is_kept

    @property
    def is_full(self) -> bool:
        return self.most is not None and self.n >= self.most

    def take(self, calls: Sequence[Call]) -> Sequence[Call]:
        """Those of the calls that are still wanted."""
        chosen = calls if self.most is None else calls[: self.most - self.n]
        self.n += len(chosen)
        if self._is_kept:
            self.kept += chosen
        return chosen

    def _arguments(self, call: Call) -> list[tuple[str, Any]]:
        return [(name, item) for name, item in call.arguments if self.names is None or name in self.names]

    def line(self, call: Call) -> str:
        """As text."""
        arguments = ", ".join(f"{name}={item}" for name, item in self._arguments(call))
        line = f"{call.time:12.6f}  {call.cpu:3}  {call.tid:7}  {call.comm:15}  {call.function}({arguments})"
        if call.duration is None:
            return line
        returned = "" if call.returned is None else f" = {_spelled(call)}"
        return f"{line}{returned}  [{_duration(call.duration)}]"

    def to_json(self, call: Call) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "type": "call",
            "function": call.function.name,
            "module": call.function.module,
            "thread": call.tid,
            "process": call.pid,
            "name": call.comm,
            "cpu": call.cpu,
            "begin": call.begin,
            "end": None if call.duration is None else call.begin + call.duration,
            "duration": call.duration,
            "arguments": dict(self._arguments(call)),
            "returned": call.returned,
        }


def _spelled(call: Call) -> str:
    """What was returned; an errno with its number."""
    if isinstance(call.returned, str) and call.returned.startswith("-E") and call.raw is not None:
        return f"{call.raw} ({call.returned[1:]})"
    return str(call.returned)


def _duration(ns: int) -> str:
    for unit, size in (("s", 1_000_000_000), ("ms", 1_000_000), ("µs", 1_000)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}" if ns < 1000 * size else f"{ns / size:,.0f} {unit}"
    return f"{ns} ns"


COMMAND = Command("trace", HELP, EXAMPLES, TraceQuestion, OWN)

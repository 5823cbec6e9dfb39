"""`multiprobe trace`: one line for each call.

Knows options, order of events and words; the tracing itself is `instruments.trace`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from multiprobe.cli.command import Asked, Command, Question
from multiprobe.cli.forms import print_json
from multiprobe.cli.options import Option
from multiprobe.instruments.trace import instrument as trace
from multiprobe.instruments.trace.describe import wanted
from multiprobe.output.units import plural_text
from multiprobe.output.values import spell

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from multiprobe.functions.sets import FunctionSet
    from multiprobe.instruments.trace.instrument import Call, Tracing

OWN = (
    Option("filter", ("--filter", "-f"), "text", "Only calls for which this Python expression holds.", "EXPRESSION"),
    Option("entry", ("--entry",), "flag", "Show calls as they begin, without what they return.", default=False),
    Option("args", ("--args",), "text", "Only these arguments, or members behind them.", "a,b.c"),
    Option("depth", ("--depth",), "natural", "Show structs behind arguments, N pointers deep (0: addresses).", "N"),
    Option("stack", ("--stack",), "flag", "Show the kernel's stack of each call below it.", default=False),
    Option("max_events", ("--max-events",), "natural", "Stop after N calls.", "N"),
)

HELP = """Show every call of the functions that a PATTERN matches: time, CPU, process, arguments, result, duration.

Arguments and results are spelled as the kernel's types say: numbers with their sign, enums, flags and errnos by name,
texts in quotes, pointers in hexadecimal. Of structs that are well known (files, dentries, sockets, …) those members are
shown that tell which one it is; --depth shows all members, --args chosen ones. Of a system call's wrapper (__x64_sys_*)
the system call's own arguments are shown. --filter takes a Python expression that is compiled into the probe: arguments
by name or number, with members, ret, duration (nanoseconds), pid, tid, comm, cpu, errnos and flags by name; texts are
compared with == and in. Ends after --duration or --max-events, with COMMAND, or with Ctrl-C.
"""

EXAMPLES = """\
Examples:
  multiprobe trace 'vfs_*' --filter 'ret < 0' -- ls /nowhere     what fails, and with which errno
  multiprobe trace __x64_sys_openat --args filename -d 10        which files are opened
  multiprobe trace vfs_read --filter 'count > 65536'             by a parameter's name
  multiprobe trace '__x64_sys_*' --filter 'ret == -ENOENT and comm == "ls"' --json -- ls /
  multiprobe trace tcp_sendmsg --filter 'sk.__sk_common.skc_dport == 443'   by what an argument points to
  multiprobe trace vfs_write --args file.f_path.dentry.d_name.name,count --filter 'ret != count'
  multiprobe trace vfs_open --depth 1 --stack --max-events 10               whole structs, and who called"""

_INDENT = 48
EVERY = 0.1
"""Seconds between looks at what has come."""


class TraceQuestion(Question):
    """What calls are there, with which arguments and results?"""

    every = EVERY
    is_looking = True
    measuring: Tracing

    def __init__(
        self,
        asked: Asked,
        *,
        filter: str | None,
        entry: bool,
        args: str | None,
        depth: int | None,
        stack: bool,
        max_events: int | None,
    ) -> None:
        super().__init__(asked)
        self.when = "entry" if entry else "session"
        self.options: dict[str, Any] = {"filter": filter, "entries_only": entry, "has_stacks": stack}
        self.args, self.depth = args, depth
        self.shown = Shown(most=max_events, is_kept=asked.forms.is_table)

    def start(self, functions: FunctionSet, **options: Any) -> Tracing:
        """Attach."""
        return trace.start(functions, wanted=wanted(self.depth, self.args), **self.options, **options)

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
        print(f"\n{plural_text(report['calls'], 'call')}")


class Shown:
    """What was shown so far: at most `most` calls."""

    def __init__(self, *, most: int | None, is_kept: bool) -> None:
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

    def line(self, call: Call) -> str:
        """As text: a line, and one for each caller below it."""
        line = f"{call.time:12.6f}  {call.cpu:3}  {call.tid:7}  {call.comm:15}  {call.function}({_arguments(call)})"
        if call.duration is not None:
            returned = "" if call.returned is None else f" = {_spelled(call)}"
            line = f"{line}{returned}  [{_duration(call.duration)}]"
        if call.stack is None:
            return line
        return "\n".join((line, *(f"{'':{_INDENT}}{frame}" for frame in call.stack or ("(no stack could be taken)",))))

    def to_json(self, call: Call) -> dict[str, Any]:
        """As a JSON object."""
        found = {
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
            "arguments": dict(call.arguments),
            "members": dict(call.members),
            "returned": call.returned,
        }
        return found if call.stack is None else found | {"stack": list(call.stack)}


def _arguments(call: Call) -> str:
    """As in C: what is behind a pointer after an `&`, in place of its address."""
    if not call.members:
        return ", ".join([f"{name}={spell(item)}" for name, item in call.arguments])
    return ", ".join(
        [
            f"{name}=&{spell(call.members[name])}" if name in call.members else f"{name}={spell(item)}"
            for name, item in call.arguments
        ]
    )


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

"""`multiprobe trace`: one line for each call.

Knows options, order of events and words; the tracing itself is `instruments.trace`.
"""

from __future__ import annotations

import sys

from multiprobe.cli.measuring import (
    ATTACHING,
    COMMAND_ONLY,
    attach,
    check,
    choose,
    detach,
    make_report,
    prepare,
    print_json,
    print_plan,
    print_report,
)
from multiprobe.cli.options import SHARED, Option, parse_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    import click

    from multiprobe.instruments.trace import Call, Tracing
    from multiprobe.instruments.workload import Workload

OPTIONS = (
    SHARED["duration"],
    Option("filter", ("--filter", "-f"), "text", "Only calls for which this Python expression holds.", "EXPRESSION"),
    Option("entry", ("--entry",), "flag", "Show calls as they begin, without what they return.", default=False),
    Option("args", ("--args",), "text", "Only these arguments, by name.", "a,b"),
    Option("max_events", ("--max-events",), "natural", "Stop after N calls.", "N"),
    SHARED["pid"],
    COMMAND_ONLY,
    SHARED["json"],
    *ATTACHING,
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

_PATIENCE = 0.1


def __getattr__(name: str) -> click.Command:
    """`command`, made when click asks for it."""
    if name != "command":
        raise AttributeError(name)
    from multiprobe.cli.group import tracing_command

    return tracing_command("trace", OPTIONS, run, help=HELP, epilog=EXAMPLES)


def run_plain(arguments: Sequence[str]) -> int | None:
    """Read a well-formed command line without click, and run it. None when click should look at it."""
    options = parse_plain(OPTIONS, arguments)
    return None if options is None else run(**options)


def run(
    *,
    patterns: Sequence[str],
    command: Sequence[str],
    duration: float | None,
    filter: str | None,
    entry: bool,
    args: str | None,
    max_events: int | None,
    pid: int | None,
    command_only: bool,
    json: bool,
    dry_run: bool,
    unsafe: bool,
    vm: str | None,
    debug: bool,
    **choice: Any,
) -> int:
    """Choose, attach, show calls until the end. Returns the exit status."""
    check("trace", command=command, pid=pid, command_only=command_only)
    functions = choose(patterns, unsafe=unsafe)
    choice |= {"when": "entry" if entry else "session"}
    if dry_run:
        return print_plan(functions, **choice, json=json)
    workload = prepare(command)
    try:
        from multiprobe.instruments import trace

        only = workload.pid if workload and command_only else pid
        options = {"filter": filter, "entries_only": entry, "pid": only, "unsafe": unsafe, **choice}
        with attach(trace.start, functions, **options) as tracing:
            shown = Shown(json=json, names=None if args is None else args.split(","), most=max_events)
            shown.head()
            _watch(tracing, shown, workload, duration=duration, pid=pid)
            report = make_report(tracing, workload, calls=shown.n)
            if json:
                print_json([report])
            else:
                print(f"\n{shown.n:,} calls")
                print_report(report, workload)
            detach(tracing)
    finally:
        if workload is not None:
            workload.close()
    return 0


def _watch(
    tracing: Tracing, shown: Shown, workload: Workload | None, *, duration: float | None, pid: int | None
) -> None:
    """Show calls as they come until the end: of time, calls, command or process, or Ctrl-C."""
    import os

    from multiprobe.cli.stopping import Until

    pid_fd = os.pidfd_open(pid) if pid is not None else -1
    fds = ([workload.end_fd] if workload else []) + ([pid_fd] if pid is not None else [])
    try:
        with Until(duration=duration, process_fds=fds) as until:
            if workload is not None:
                workload.release()
            while not until.wait(_PATIENCE) and not shown.is_full:
                shown.show(tracing.take())
        shown.show(tracing.stop())
    finally:
        if pid_fd >= 0:
            os.close(pid_fd)


class Shown:
    """What was printed so far: at most `most` calls, of whose arguments only those in `names` (None: all)."""

    def __init__(self, *, json: bool, names: Sequence[str] | None, most: int | None) -> None:
        self.json = json
        self.names = None if names is None else {name.strip() for name in names}
        self.most = most
        self.n = 0

    @property
    def is_full(self) -> bool:
        return self.most is not None and self.n >= self.most

    def head(self) -> None:
        """The line above all calls."""
        if not self.json:
            print(f"{'TIME':>12}  CPU  {'PID':>7}  {'COMMAND':15}  CALL", flush=True)

    def show(self, calls: Sequence[Call]) -> None:
        """Print calls."""
        chosen = calls if self.most is None else calls[: self.most - self.n]
        self.n += len(chosen)
        if self.json:
            print_json([self._to_json(call) for call in chosen])
        else:
            sys.stdout.writelines(f"{self._line(call)}\n" for call in chosen)
        sys.stdout.flush()

    def _arguments(self, call: Call) -> list[tuple[str, Any]]:
        return [(name, item) for name, item in call.arguments if self.names is None or name in self.names]

    def _line(self, call: Call) -> str:
        arguments = ", ".join(f"{name}={item}" for name, item in self._arguments(call))
        line = f"{call.time:12.6f}  {call.cpu:3}  {call.tid:7}  {call.comm:15}  {call.function}({arguments})"
        if call.duration is None:
            return line
        returned = "" if call.returned is None else f" = {_spelled(call)}"
        return f"{line}{returned}  [{_duration(call.duration)}]"

    def _to_json(self, call: Call) -> dict[str, Any]:
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

"""`multiprobe count`: calls per function.

Knows options, order of events and words; the counting itself is `instruments.count`. Imports click only when asked for
the click command.
"""

from __future__ import annotations

import os
import sys

from multiprobe.cli.options import SHARED, Option, parse_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    import click

    from multiprobe.cli.stopping import Until
    from multiprobe.functions.sets import FunctionSet
    from multiprobe.instruments.count import CallCount, Counting, Sample
    from multiprobe.instruments.workload import Workload
    from multiprobe.output.table import Table

OPTIONS = (
    SHARED["duration"],
    Option("is_return", ("--return",), "flag", "Count returns, not entries.", default=False),
    SHARED["top"],
    SHARED["pid"],
    Option("command_only", ("--command-only",), "flag", "Only what COMMAND's own process does.", default=False),
    SHARED["json"],
    SHARED["mechanism"],
    SHARED["without"],
    SHARED["unsafe"],
    SHARED["dry_run"],
    SHARED["vm"],
    SHARED["debug"],
)

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

#: Rows of text shown unless `--top` says otherwise; JSON has no such limit.
DEFAULT_TOP = 40


def __getattr__(name: str) -> click.Command:
    """`command`, made when click asks for it."""
    if name != "command":
        raise AttributeError(name)
    from multiprobe.cli.group import tracing_command

    return tracing_command("count", OPTIONS, run, help=HELP, epilog=EXAMPLES)


def run_plain(arguments: Sequence[str]) -> int | None:
    """Read a well-formed command line without click, and run it. None when click should look at it."""
    options = parse_plain(OPTIONS, arguments)
    return None if options is None else run(**options)


def run(
    *,
    patterns: Sequence[str],
    command: Sequence[str],
    duration: float | None,
    is_return: bool,
    top: int | None,
    pid: int | None,
    command_only: bool,
    json: bool,
    mechanism: str | None,
    without: Sequence[str],
    unsafe: bool,
    dry_run: bool,
    vm: str | None,
    debug: bool,
) -> int:
    """Choose, attach, count until the end, print. Returns the exit status."""
    _check(command, pid, command_only)
    functions = _choose(patterns, unsafe=unsafe)
    choice: dict[str, Any] = {
        "when": "return" if is_return else "entry",
        "mechanism": mechanism,
        "without": tuple(without),
    }
    if dry_run:
        return _print_plan(functions, **choice, json=json)
    workload = _prepare(command)
    try:
        only = workload.pid if workload and command_only else pid
        with _start(functions, pid=only, unsafe=unsafe, **choice) as counting:
            sample = _count(counting, workload, duration=duration, pid=pid, is_live=not json)
            _print(counting, sample, workload, top=top, json=json)
            _close(counting)
    finally:
        if workload is not None:
            workload.close()
    return 0


def _check(command: Sequence[str], pid: int | None, command_only: bool) -> None:
    """Raise UsageError for what can't mean anything."""
    from multiprobe.errors import UsageError

    if command_only and not command:
        raise UsageError("--command-only needs a command", hint="multiprobe count PATTERN… --command-only -- COMMAND…")
    if command_only and pid is not None:
        raise UsageError("--command-only and --pid name two processes: give one of them")
    if pid is not None and not os.path.exists(f"/proc/{pid}"):
        raise UsageError(f"there is no process {pid}")


def _choose(patterns: Sequence[str], *, unsafe: bool) -> FunctionSet:
    import multiprobe as mp
    from multiprobe.output.progress import Progress

    with Progress("reading the kernel's functions"):
        functions = mp.Kernel().functions(*patterns, unsafe=unsafe)
    if not len(functions) and not functions.unresolved:
        raise mp.NoMatchError(
            f"no function matches {' '.join(patterns)}",
            hint="`multiprobe functions PATTERN…` shows what a pattern matches; quote patterns in a shell",
        )
    return functions


def _prepare(command: Sequence[str]) -> Workload | None:
    if not command:
        return None
    from multiprobe.instruments.workload import Workload

    return Workload(command)


def _start(functions: FunctionSet, **options: Any) -> Counting:
    from multiprobe.instruments import count
    from multiprobe.output.progress import Progress

    with Progress(f"attaching to {functions.n_attachable(when=options['when']):,} functions"):
        return count.start(functions, **options)


def _count(
    counting: Counting, workload: Workload | None, *, duration: float | None, pid: int | None, is_live: bool
) -> Sample:
    """Count until the end of it: time, command, process or Ctrl-C."""
    from multiprobe.cli.stopping import Until
    from multiprobe.instruments import count

    pid_fd = os.pidfd_open(pid) if pid is not None else -1
    fds = ([workload.end_fd] if workload else []) + ([pid_fd] if pid is not None else [])
    try:
        with Until(duration=duration, process_fds=fds) as until:
            if workload is not None:
                workload.release()
            if is_live and sys.stderr.isatty():
                return _count_live(counting, until, is_alone=workload is None)
            return count.gather(counting, until.wait)
    finally:
        if pid_fd >= 0:
            os.close(pid_fd)


def _count_live(counting: Counting, until: Until, *, is_alone: bool) -> Sample:
    """The same with a table redrawn every second; not while a command writes to the same terminal."""
    from multiprobe.instruments import count

    if not is_alone and sys.stdout.isatty():
        return count.gather(counting, until.wait)
    from multiprobe.output.live import LiveTable

    before: Sample | None = None
    with LiveTable(sys.stderr) as live:

        def show(sample: Sample) -> None:
            nonlocal before
            rows = count.call_counts(counting.functions, sample, before=before, top=live.rows)
            title = f"{counting.report.attached:,} functions, {sample.seconds:.0f} s, Ctrl-C ends"
            live.show(title, _table(rows))
            before = sample

        return count.gather(counting, until.wait, show=show)


def _print(counting: Counting, sample: Sample, workload: Workload | None, *, top: int | None, json: bool) -> None:
    from multiprobe.instruments.count import call_counts

    limit = top if top is not None else 0 if json else DEFAULT_TOP
    rows = call_counts(counting.functions, sample, top=limit)
    report = counting.report.to_json() | {"calls": sum(sample.totals), "seconds": round(sample.seconds, 6)}
    if workload is not None:
        report["command"] = {"arguments": list(workload.command), "pid": workload.pid, "status": workload.poll()}
    if json:
        from multiprobe.output.json_lines import write_json_lines

        write_json_lines([*map(_to_json, rows), report], sys.stdout)
    else:
        _print_text(rows, report, n_called=sum(1 for n in sample.totals if n), workload=workload)


def _print_text(rows: Sequence[CallCount], report: dict[str, Any], *, n_called: int, workload: Workload | None) -> None:
    from multiprobe.output.report import report_lines
    from multiprobe.output.table import write_table

    if rows:
        write_table(_table(rows), sys.stdout)
        if n_called > len(rows):
            print(f"… and {n_called - len(rows):,} more (--top 0 shows all)")
        print()
    print(f"{report['calls']:,} calls of {n_called:,} functions in {report['seconds']:.2f} s")
    for line in report_lines(report):
        print(line)
    if workload is not None:
        from multiprobe.instruments.workload import describe_status

        status = workload.poll()
        how = "still runs: it is ended now" if status is None else describe_status(status)
        print(f"command: {workload.command[0]} {how}")
    sys.stdout.flush()


def _table(rows: Sequence[CallCount]) -> Table:
    from multiprobe.output.table import Column, Table

    columns = (Column("CALLS", True), Column("RATE/S", True), Column("SHARE", True), Column("FUNCTION"))
    return Table(columns, [(f"{r.calls:,}", f"{r.rate:,.1f}", f"{r.share:.1%}", str(r.function)) for r in rows])


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


def _close(counting: Counting) -> None:
    from multiprobe.output.progress import Progress

    with Progress("detaching"):
        counting.close()


def _print_plan(functions: FunctionSet, *, when: str, mechanism: str | None, without: Sequence[str], json: bool) -> int:
    """Say what would be attached. The object of JSON is that of a report, with the type "plan"."""
    from multiprobe.instruments.preview import preview

    plan = preview(functions, when=when, mechanism=mechanism, without=without).to_json() | {"type": "plan"}
    if json:
        from multiprobe.output.json_lines import write_json_lines

        write_json_lines([plan], sys.stdout)
    else:
        from multiprobe.output.report import report_lines

        print("\n".join(report_lines(plan, is_plan=True)))
    return 0

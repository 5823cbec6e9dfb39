"""`multiprobe count`: calls per function.

Knows options, order of events and words; the counting itself is `instruments.count`. Imports click only when asked for
the click command.
"""

from __future__ import annotations

from multiprobe.cli.measuring import (
    ATTACHING,
    COMMAND_ONLY,
    DEFAULT_TOP,
    Forms,
    attach,
    check,
    choose,
    detach,
    make_report,
    prepare,
    print_plan,
    print_report,
    print_table,
    watch,
)
from multiprobe.cli.options import SHARED, Option, parse_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    import click

    from multiprobe.cli.live import Live
    from multiprobe.instruments.count import CallCount, Counting, Sample
    from multiprobe.instruments.workload import Workload
    from multiprobe.output.table import Table

OPTIONS = (
    SHARED["duration"],
    Option("is_return", ("--return",), "flag", "Count returns, not entries.", default=False),
    SHARED["top"],
    SHARED["pid"],
    COMMAND_ONLY,
    SHARED["live"],
    SHARED["json"],
    SHARED["csv"],
    SHARED["parquet"],
    SHARED["kernel_files"],
    *ATTACHING,
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
    live: bool,
    json: bool,
    csv: bool,
    parquet: str | None,
    kernel_files: str | None,
    unsafe: bool,
    dry_run: bool,
    vm: str | None,
    debug: bool,
    **choice: Any,
) -> int:
    """Choose, attach, count until the end, print. Returns the exit status."""
    check("count", command=command, pid=pid, command_only=command_only)
    forms = Forms(json, csv, parquet)
    if kernel_files and not dry_run:
        from multiprobe.errors import UsageError

        raise UsageError("--kernel-files is about another kernel: it can only be planned for", hint="add --dry-run")
    if live:
        from multiprobe.cli.live import check as check_live

        check_live(is_text=forms.is_text)
    functions = choose(patterns, unsafe=unsafe, kernel_files=kernel_files)
    choice |= {"when": "return" if is_return else "entry"}
    if dry_run:
        return print_plan(functions, **choice, json=json)
    workload = prepare(command)
    try:
        from multiprobe.instruments import count

        only = workload.pid if workload and command_only else pid
        with attach(count.start, functions, pid=only, unsafe=unsafe, **choice) as counting:
            show = None if not forms.is_text else _make_show(counting)
            screen = _make_screen(counting) if live else None
            sample = watch(counting, workload, duration=duration, pid=pid, show=show, live=screen)
            _print(counting, sample, workload, top=top, forms=forms)
            detach(counting)
    finally:
        if workload is not None:
            workload.close()
    return 0


def _make_show(counting: Counting) -> Callable[[Sample, Sample | None, int], Table]:
    def show(sample: Sample, before: Sample | None, rows: int) -> Table:
        from multiprobe.instruments.count import call_counts

        return _table(call_counts(counting.functions, sample, before=before, top=rows))

    return show


def _make_screen(counting: Counting) -> Live:
    """The full-screen view: all functions that were called, and how one's rate went."""
    from multiprobe.cli.live import History, Live
    from multiprobe.instruments.count import call_counts
    from multiprobe.output.histogram import sparkline
    from multiprobe.output.view import Frame, Row

    history = History()
    functions = counting.functions

    def frame(sample: Sample, before: Sample | None) -> Frame:
        history.note(sample.seconds, sample.totals)
        counts = call_counts(functions, sample, before=before)
        table = _table(counts)
        rows = [
            Row(count.index, tuple(cells), (count.calls, count.rate, count.share, cells[-1]))
            for count, cells in zip(counts, table.rows, strict=True)
        ]
        title = f"{counting.report.attached:,} functions attached, {len(rows):,} called, {sample.seconds:.0f} s"
        return Frame(title, table.columns, rows)

    def details(index: int, sample: Sample) -> list[str]:
        rates = history.rates(index)
        last = f"{rates[-1]:,.1f} a second now, {max(rates):,.1f} at most" if rates else "no rate yet"
        return [f"{sample.totals[index]:,} calls, {last}", sparkline([round(rate) for rate in rates])]

    return Live(frame=frame, details=details, functions=functions)


def _print(counting: Counting, sample: Sample, workload: Workload | None, *, top: int | None, forms: Forms) -> None:
    from multiprobe.instruments.count import call_counts

    rows = call_counts(counting.functions, sample, top=top or 0)
    report = make_report(counting, workload, calls=sum(sample.totals), seconds=round(sample.seconds, 6))
    forms.write(map(_to_json, rows), report, workload)
    if not forms.is_text:
        return
    rows = rows if top is not None else rows[:DEFAULT_TOP]
    n_called = sum(1 for n in sample.totals if n)
    print_table(_table(rows), n_more=n_called - len(rows))
    print(f"{report['calls']:,} calls of {n_called:,} functions in {report['seconds']:.2f} s")
    print_report(report, workload)


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

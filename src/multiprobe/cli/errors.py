"""`multiprobe errors`: which calls fail, who failed first, and along which path.

Knows options, order of events and words; the watching itself is `instruments.errors`.
"""

from __future__ import annotations

from multiprobe.cli.measuring import (
    ATTACHING,
    COMMAND_ONLY,
    DEFAULT_TOP,
    attach,
    check,
    choose,
    detach,
    make_report,
    prepare,
    print_json,
    print_plan,
    print_report,
    watch,
)
from multiprobe.cli.options import SHARED, Option, parse_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    import click

    from multiprobe.instruments.errors import Sample, Watching
    from multiprobe.instruments.failures import Failure, Group
    from multiprobe.instruments.workload import Workload
    from multiprobe.output.table import Table

OPTIONS = (
    SHARED["duration"],
    Option("each", ("--each",), "flag", "Each failure by itself as it happens, with arguments.", default=False),
    Option("allow", ("--allow",), "text", "Only these errors (ENOSPC,EIO; NULL); repeatable.", "NAMES", (), True),
    Option("deny", ("--deny",), "text", "Not these errors (ENOENT,EAGAIN; NULL); repeatable.", "NAMES", (), True),
    Option("unhandled", ("--unhandled",), "flag", "Only failures that no traced function took.", default=False),
    SHARED["top"],
    SHARED["pid"],
    COMMAND_ONLY,
    SHARED["json"],
    *ATTACHING,
)

HELP = """Find the calls that fail, among the functions that a PATTERN matches, and who failed first.

A call fails when it returns a negative errno (int, long), or NULL or an errno in a pointer, as the kernel's types say.
The first to fail is the innermost traced call; its failure goes on as long as its callers return errors too. Equal
failures are counted together: error, first function, path that led there, and where it ended.
"""

EXAMPLES = """\
Examples:
  multiprobe errors 'ext4_*' 'jbd2_*' -d 10            ten seconds of a file system
  multiprobe errors 'vfs_*' 'shmem_*' -- cp big /tmp   why does it fail?
  multiprobe errors 'tcp_*' 'inet_*' --deny EAGAIN     without what is no news
  multiprobe errors 'do_*mount*' --each --unhandled    one by one, with arguments"""

EVERY = 0.2
N_ARGUMENTS = 6
_SHOWN_PATH = 100


def __getattr__(name: str) -> click.Command:
    """`command`, made when click asks for it."""
    if name != "command":
        raise AttributeError(name)
    from multiprobe.cli.group import tracing_command

    return tracing_command("errors", OPTIONS, run, help=HELP, epilog=EXAMPLES)


def run_plain(arguments: Sequence[str]) -> int | None:
    """Read a well-formed command line without click, and run it. None when click should look at it."""
    options = parse_plain(OPTIONS, arguments)
    return None if options is None else run(**options)


def run(
    *,
    patterns: Sequence[str],
    command: Sequence[str],
    duration: float | None,
    each: bool,
    allow: Sequence[str],
    deny: Sequence[str],
    unhandled: bool,
    top: int | None,
    pid: int | None,
    command_only: bool,
    json: bool,
    dry_run: bool,
    unsafe: bool,
    vm: str | None,
    debug: bool,
    **choice: Any,
) -> int:
    """Choose, attach, watch until the end, print. Returns the exit status."""
    check("errors", command=command, pid=pid, command_only=command_only)
    wanted: dict[str, Any] = {"allow": _names("--allow", allow), "deny": _names("--deny", deny), "unhandled": unhandled}
    functions = choose(patterns, unsafe=unsafe)
    choice |= {"when": "session"}
    if dry_run:
        return print_plan(functions, **choice, json=json)
    workload = prepare(command)
    try:
        only = workload.pid if workload and command_only else pid
        from multiprobe.instruments import errors

        printer = Printer(json=json)
        options: dict[str, Any] = {
            "on_failure": printer if each else None,
            "n_arguments": N_ARGUMENTS if each else 0,
            **wanted,
        }
        with attach(errors.start, functions, pid=only, unsafe=unsafe, **options, **choice) as watching:
            printer.watching = watching
            show = None if json or each else _make_show(watching)
            sample = watch(
                watching, workload, duration=duration, pid=pid, show=show, on_sample=lambda _: None, every=EVERY
            )
            _print(watching, sample, workload, top=top, json=json)
            detach(watching)
    finally:
        if workload is not None:
            workload.close()
    return 0


def _names(flag: str, words: Sequence[str]) -> frozenset[str]:
    from multiprobe.errors import UsageError
    from multiprobe.instruments.failures import parse_errors

    try:
        return parse_errors(words)
    except ValueError as error:
        raise UsageError(f"{flag}: there is no error {error}", hint="names as in ENOENT,EAGAIN; or NULL") from None


class Printer:
    """Prints failures one by one."""

    def __init__(self, *, json: bool) -> None:
        self.json = json
        self.watching: Watching

    def __call__(self, failure: Failure) -> None:
        """Print one."""
        watching = self.watching
        if self.json:
            print_json([_failure_json(watching, failure)])
            return
        words = ", ".join(f"{name}={item}" for name, item in watching.arguments(failure).items())
        task = f"{failure.name}[{failure.tid}]"
        print(
            f"{task}: {_error(failure)} from {_name(watching, failure.first)}({words}), {_outcome(watching, failure)}"
        )
        print(f"    {_path(watching, failure)}", flush=True)


def _error(failure: Failure) -> str:
    from multiprobe.instruments.failures import error_name

    return error_name(failure.error)


def _name(watching: Watching, index: int | None) -> str:
    return "?" if index is None else str(watching.functions[index])


def _path(watching: Watching, failure: Failure) -> str:
    names = [_name(watching, index) for index in failure.path]
    return " > ".join(["…", *names] if failure.is_cut else names)


def _outcome(watching: Watching, failure: Failure) -> str:
    from multiprobe.instruments.failures import error_name

    if failure.end is None:
        return "its end was not seen"
    if failure.is_handled:
        return f"taken by {_name(watching, failure.end)}"
    return f"returned by {_name(watching, failure.end)} as {error_name(failure.end_error)}"


def _make_show(watching: Watching) -> Callable[[Sample, Sample | None, int], Table]:
    def show(sample: Sample, _before: Sample | None, rows: int) -> Table:
        from multiprobe.output.table import Column, Table

        titles = ("COUNT", "ERROR", "FIRST TO FAIL", "OUTCOME", "PATH")
        return Table(
            tuple(Column(title, title == "COUNT") for title in titles),
            [_cells(watching, group) for group in sample.groups[:rows]],
        )

    return show


def _cells(watching: Watching, group: Group) -> list[str]:
    f = group.example
    path = _path(watching, f)
    short = path if len(path) <= _SHOWN_PATH else f"… {path[-_SHOWN_PATH:]}"
    return [f"{group.count:,}", _error(f), _name(watching, f.first), _outcome(watching, f), short]


def _print(watching: Watching, sample: Sample, workload: Workload | None, *, top: int | None, json: bool) -> None:
    limit = top if top is not None else 0 if json else DEFAULT_TOP
    groups = sample.groups[:limit] if limit else sample.groups
    report = make_report(
        watching, workload, failures=sample.n_failures, left_out=sample.n_left_out, untyped=watching.n_untyped,
        seconds=round(sample.seconds, 6),
    )  # fmt: skip
    if json:
        print_json([*(_group_json(watching, group) for group in groups), report])
        return
    width = max((len(f"{group.count:,}") for group in groups), default=0)
    for group in groups:
        f = group.example
        first = _name(watching, f.first)
        print(f"{group.count:>{width},}  {_error(f)} from {first}, {_outcome(watching, f)}")
        print(f"{'':{width}}  {_path(watching, f)}")
    if len(sample.groups) > len(groups):
        print(f"… and {len(sample.groups) - len(groups):,} groups more (--top 0 shows all)")
    if groups:
        print()
    left = f", {sample.n_left_out:,} left out" if sample.n_left_out else ""
    print(f"{sample.n_failures:,} failures of {len(sample.groups):,} kinds in {sample.seconds:.2f} s{left}")
    if watching.n_untyped:
        print(f"{watching.n_untyped:,} functions have no type information: they are on paths, but never fail")
    print_report(report, workload)


def _group_json(watching: Watching, group: Group) -> dict[str, Any]:
    return {"type": "group", "count": group.count, **_common_json(watching, group.example)}


def _failure_json(watching: Watching, failure: Failure) -> dict[str, Any]:
    return {
        "type": "failure",
        "time_ns": failure.time,
        "pid": failure.pid,
        "tid": failure.tid,
        "name": failure.name,
        **_common_json(watching, failure),
        "arguments": watching.arguments(failure),
    }


def _common_json(watching: Watching, failure: Failure) -> dict[str, Any]:
    from multiprobe.instruments.failures import error_name

    return {
        "error": _error(failure),
        "first": _name(watching, failure.first),
        "path": [_name(watching, index) for index in failure.path],
        "is_cut": failure.is_cut,
        "outcome": "unknown" if failure.end is None else "handled" if failure.is_handled else "returned",
        "end": None if failure.end is None else _name(watching, failure.end),
        "end_error": error_name(failure.end_error) if failure.end_error else None,
    }

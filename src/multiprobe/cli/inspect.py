"""`multiprobe inspect`: shows the tracing links on this system, and what is attached to a function."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

import click

import multiprobe as mp
from multiprobe.binaries.libraries import is_library
from multiprobe.binaries.naming import split_binary
from multiprobe.cli.command import SETTINGS, Command
from multiprobe.cli.completing import complete_pattern
from multiprobe.cli.options import (
    OutputOption,
    SelectionOption,
    general_options,
    json_option,
    output_option,
    top_option,
)
from multiprobe.cli.params import ProcessId
from multiprobe.cli.results import Results
from multiprobe.errors import UsageError
from multiprobe.inspect import records, text
from multiprobe.inspect.overlap import LEGEND, mix_lines
from multiprobe.inspect.records import missing_records
from multiprobe.inspect.text import missing_lines
from multiprobe.inspect.user_records import user_records
from multiprobe.inspect.user_text import user_grid, user_lines
from multiprobe.output.table import Column, TextTable, table_lines
from multiprobe.output.terminal import columns_of, write_lines
from multiprobe.plurals import plural_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from multiprobe.inspect import FunctionPicture, Missing, Mix, ObservedLink, UserFunctionPicture
    from multiprobe.inspect.text import Grid

EXAMPLES = """\
Examples:
  multiprobe inspect                             every tracing link on this system
  multiprobe inspect vfs_read                    one function: call site, trampoline, programs, cookies
  multiprobe inspect vfs_read --programs         … and the machine code of its programs
  multiprobe inspect --mix 'vfs_*'               which attachments overlap on which functions
  multiprobe inspect libc:malloc --pid 4242      a function of a library, and its bytes in that process
  multiprobe inspect '/usr/bin/python3:Py*'      functions of a program, with what is attached to each
  multiprobe inspect --json | jq .program.name   for scripts: one JSON object a line

Requires root (listing BPF objects needs CAP_SYS_ADMIN). What can't be read is left out, and listed at the end."""

DEFAULT_ROWS = 60


def run(
    function: str | None,
    *,
    patterns: tuple[str, ...],
    programs: bool,
    top: int | None,
    json: bool,
    output: str | None,
    pid: int | None = None,
) -> int:
    """Show all links, functions, or a matrix of functions and attachments. Returns the exit status."""
    if patterns and function:
        raise UsageError(
            "--mix and FUNCTION exclude each other",
            hint=f"multiprobe inspect --mix {patterns[0]} --mix {function}",
        )
    if programs and not function:
        raise UsageError("--programs needs a FUNCTION", hint="multiprobe inspect vfs_read --programs")
    is_user = function is not None and _is_user(function, pid)
    if pid is not None and not is_user:
        raise UsageError(
            "--pid needs a FUNCTION of a program or library", hint=f"multiprobe inspect libc:malloc --pid {pid}"
        )
    n_rows = DEFAULT_ROWS if top is None else top or sys.maxsize
    with Results(output, is_text=not json) as results:
        if patterns:
            missing = _show_mix(results, patterns, top=n_rows, json=json)
        elif function and is_user:
            missing = _show_user(results, function, pid=pid, programs=programs, top=n_rows, json=json)
        elif function:
            missing = _show_function(results, function, programs=programs, json=json)
        else:
            missing = _show_links(results, json=json)
        if json:
            results.json(missing_records(missing))
        else:
            sys.stdout.flush()
            write_lines(missing_lines(missing), sys.stderr)
    return 0


def _show_links(results: Results, *, json: bool) -> Iterable[Missing]:
    missing: list[Missing] = []
    found: tuple[ObservedLink, ...] = mp.inspect.links(missing=missing)
    if json:
        results.json(records.link_records(found))
    elif found:
        results.table(_table(text.links_grid(found)))
    else:
        results.lines(["no tracing link on this system"])
    return missing


def _table(grid: Grid) -> TextTable:
    return TextTable(tuple(Column(title, title in grid.numeric) for title in grid.titles), grid.rows)


def _show_function(results: Results, function: str, *, programs: bool, json: bool) -> Iterable[Missing]:
    if not set("*?[").isdisjoint(function):
        hint = f"multiprobe inspect --mix {shlex.quote(function)} shows what is attached to all that it matches"
        raise UsageError(f"expected one function, not the pattern {function!r}", hint=hint)
    picture: FunctionPicture = mp.inspect.function(function, programs=programs)
    if json:
        results.json(records.picture_records(picture))
    else:
        width = columns_of(results.file)
        inner = width and max(width - text.INDENT, 1)
        results.spans(text.picture_lines(picture, lambda grid: table_lines(_table(grid), width=inner)))
    return picture.missing


def _is_user(function: str, pid: int | None = None) -> bool:
    return split_binary(function, is_library=is_library if pid is None else bool) is not None


def _show_user(
    results: Results, function: str, *, pid: int | None, programs: bool, top: int, json: bool
) -> Iterable[Missing]:
    missing: list[Missing] = []
    found = mp.inspect.user_functions(function, pid=pid, programs=programs, missing=missing)
    if json:
        results.json(user_records(found))
        return missing
    if programs and len(found) > 1:
        raise UsageError(f"--programs needs one function: {function} selects {len(found):,}")
    width = columns_of(results.file)
    if len(found) == 1:
        inner = width and max(width - text.INDENT, 1)
        results.spans(user_lines(found[0], lambda grid: table_lines(_table(grid), width=inner)))
    else:
        attached_first = sorted(found, key=lambda picture: not picture.attached)
        results.table(_table(user_grid(attached_first[:top])))
        results.lines([_summary(found, n_shown=min(top, len(found)))])
    return missing


def _summary(found: Sequence[UserFunctionPicture], *, n_shown: int) -> str:
    n_attached = sum(bool(picture.attached) for picture in found)
    more = f"; the first {n_shown:,} are shown (--top 0 shows all)" if n_shown < len(found) else ""
    functions = plural_text(len(found), "function")
    return f"{functions} of {found[0].function.binary}: something is attached to {n_attached:,}{more}"


def _show_mix(results: Results, patterns: tuple[str, ...], *, top: int, json: bool) -> Iterable[Missing]:
    of_binary = next(filter(_is_user, patterns), None)
    if of_binary is not None:
        hint = f"multiprobe inspect {shlex.quote(of_binary)} shows what is attached to functions of programs"
        raise UsageError("--mix shows functions of the kernel only", hint=hint)
    missing: list[Missing] = []
    found: Mix = mp.inspect.mix(patterns, missing=missing)
    if json:
        results.json(records.mix_records(found))
    elif not found.links:
        n = len(found.rows) + found.n_bare
        results.lines([f"nothing is attached to {'this function' if n == 1 else f'these {n:,} functions'}"])
    else:
        results.spans(mix_lines(found, limit=top, width=columns_of(results.file)))
        bare = f"; {plural_text(found.n_bare, 'function')} more carr{'ies' if found.n_bare == 1 else 'y'} nothing"
        results.lines(["", f"{LEGEND}{bare if found.n_bare else ''}"])
    return missing


@click.command("inspect", cls=Command, epilog=EXAMPLES, context_settings=SETTINGS)
@click.argument("function", required=False, metavar="[FUNCTION]", shell_complete=complete_pattern)
@click.option(
    "--mix",
    "patterns",
    cls=SelectionOption,
    multiple=True,
    metavar="PATTERN",
    help="Functions × attachments; repeatable.",
)
@click.option(
    "--pid",
    "-p",
    cls=SelectionOption,
    type=ProcessId(),
    metavar="PID",
    help="Show the bytes of a program's function in this process.",
)
@click.option("--programs", cls=OutputOption, is_flag=True, help="Show the machine code of the function's programs.")
@top_option
@json_option
@output_option
@general_options
def command(
    function: str | None,
    patterns: tuple[str, ...],
    pid: int | None,
    programs: bool,
    top: int | None,
    json: bool,
    output: str | None,
) -> int:
    """Show what is attached on this system, also by other programs. Changes nothing.

    Without arguments: every tracing link, its program, functions, cookies, misses, and the process that holds it. With
    a FUNCTION (a name, module:name, or an address): its first bytes, the target of its call site, the ftrace ops and
    the trampoline there, disassembled with its calls named, and everything attached to it. Of a program or library
    (/path/to/program:name, libc:name; or a pattern): its place in the file, everything attached to it, and its first
    bytes in the processes that have mapped the file.
    """
    return run(function, patterns=patterns, programs=programs, top=top, json=json, output=output, pid=pid)

"""`multiprobe inspect`: shows the tracing links on this system, and what is attached to a function."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

import multiprobe as mp
from multiprobe.cli.command import SETTINGS, Command
from multiprobe.cli.completing import complete_pattern
from multiprobe.cli.options import OutputOption, SelectionOption, general_options, json_option, top_option
from multiprobe.cli.results import Results
from multiprobe.errors import UsageError
from multiprobe.inspect import records, text
from multiprobe.inspect.overlap import LEGEND, mix_lines, rich_mix
from multiprobe.inspect.records import missing_records
from multiprobe.inspect.text import missing_lines
from multiprobe.names import printable
from multiprobe.output.table import Column, TextTable, rich_console

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multiprobe.inspect import FunctionPicture, Missing, Mix, ObservedLink
    from multiprobe.inspect.records import Record
    from multiprobe.inspect.text import Spans

EXAMPLES = """\
Examples:
  multiprobe inspect                             every tracing link on this system
  multiprobe inspect vfs_read                    one function: call site, trampoline, programs, cookies
  multiprobe inspect vfs_read --programs         … and the machine code of its programs
  multiprobe inspect --mix 'vfs_*'               which attachments overlap on which functions
  multiprobe inspect --json | jq .program.name   for scripts: one JSON object a line

Requires root (listing BPF objects needs CAP_SYS_ADMIN). What can't be read is left out, and listed at the end."""

DEFAULT_ROWS = 60


def run(function: str | None, *, patterns: tuple[str, ...], programs: bool, top: int | None, json: bool) -> int:
    """Show all links, one function, or a matrix of functions and attachments. Returns the exit status."""
    if patterns and function:
        raise UsageError(
            "--mix and FUNCTION exclude each other",
            hint=f"multiprobe inspect --mix {patterns[0]} --mix {function}",
        )
    if programs and not function:
        raise UsageError("--programs needs a FUNCTION", hint="multiprobe inspect vfs_read --programs")
    if patterns:
        return _show_mix(patterns, top=DEFAULT_ROWS if top is None else top or sys.maxsize, json=json)
    if function:
        return _show_function(function, programs=programs, json=json)
    return _show_links(json=json)


def _show_links(*, json: bool) -> int:
    missing: list[Missing] = []
    found: tuple[ObservedLink, ...] = mp.inspect.links(missing=missing)
    if json:
        return _write(records.link_records(found), missing)
    if found:
        grid = text.links_grid(found)
        columns = tuple(Column(title, title in grid.numeric) for title in grid.titles)
        Results().table(TextTable(columns, grid.rows))
    else:
        print("no tracing link on this system")
    return _note(missing)


def _show_function(function: str, *, programs: bool, json: bool) -> int:
    picture: FunctionPicture = mp.inspect.function(function, programs=programs)
    if json:
        return _write(records.picture_records(picture), picture.missing)
    _print_spans(text.picture_lines(picture))
    return _note(picture.missing)


def _show_mix(patterns: tuple[str, ...], *, top: int, json: bool) -> int:
    missing: list[Missing] = []
    found: Mix = mp.inspect.mix(patterns, missing=missing)
    if json:
        return _write(records.mix_records(found), missing)
    if not found.links:
        print(f"nothing is attached to these {len(found.rows) + found.n_bare} functions")
        return _note(missing)
    if sys.stdout.isatty():
        rich_console(sys.stdout).print(rich_mix(found, limit=top))
    else:
        Results().lines(mix_lines(found, limit=top))
    bare = f"; {found.n_bare} functions more carry nothing" if found.n_bare else ""
    print(f"\n{LEGEND}{bare}")
    return _note(missing)


def _write(found: Iterable[Record], missing: Iterable[Missing]) -> int:
    results = Results(is_text=False)
    results.json(found)
    results.json(missing_records(missing))
    return 0


def _print_spans(lines: Iterable[Spans]) -> None:
    if not sys.stdout.isatty():
        Results().lines("".join(text for text, _ in line) for line in lines)
        return
    from rich.text import Text

    console = rich_console(sys.stdout)
    for line in lines:
        console.print(Text.assemble(*((printable(text), style) for text, style in line)), soft_wrap=True)


def _note(missing: Iterable[Missing]) -> int:
    sys.stdout.flush()
    Results().lines(missing_lines(missing), file=sys.stderr)
    return 0


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
@click.option("--programs", cls=OutputOption, is_flag=True, help="Show the machine code of the function's programs.")
@top_option
@json_option
@general_options
def command(function: str | None, patterns: tuple[str, ...], programs: bool, top: int | None, json: bool) -> int:
    """Show what is attached on this system, also by other programs. Changes nothing.

    Without arguments: every tracing link, its program, functions, cookies, misses, and the process that holds it. With
    a FUNCTION (a name, module:name, or an address): its first bytes, the target of its call site, the ftrace ops and
    the trampoline there, disassembled with its calls named, and everything attached to it.
    """
    return run(function, patterns=patterns, programs=programs, top=top, json=json)

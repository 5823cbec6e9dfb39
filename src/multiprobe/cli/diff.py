"""`multiprobe diff`: what changed between saved runs."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

import click

from multiprobe.cli.command import SETTINGS, Command, n_own
from multiprobe.cli.diff_plan import diff_plans
from multiprobe.cli.files import writing
from multiprobe.cli.options import (
    DEFAULT_TOP,
    OutputOption,
    SelectionOption,
    debug_option,
    flame_option,
    json_option,
    output_option,
    top_option,
)
from multiprobe.cli.params import OutputFile, Percentage
from multiprobe.cli.results import Results
from multiprobe.cli.run_files import expand, label_cells, label_columns, number, shown
from multiprobe.errors import UsageError
from multiprobe.output.flame import flame_svg
from multiprobe.output.page import Picture, comparison_page
from multiprobe.output.table import Column, TextTable
from multiprobe.output.units import time_text
from multiprobe.plurals import plural_text
from multiprobe.runs.comparing import FDR, LEAST, Difference, diff
from multiprobe.runs.grouping import KernelDifference, diff_kernels

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

EXAMPLES = """\
Examples:
  multiprobe diff before.jsonl.gz after.jsonl.gz      how large the differences are
  multiprobe diff before/ after/                      directories of repeated runs: what really changed
  multiprobe diff old-*.jsonl.gz -- new-*.jsonl.gz    the same, from a shell's patterns
  multiprobe diff before/ after/ --json | jq 'select(.is_claim)'
  multiprobe diff --plan old.json new.json            of `functions '*' --json`: what can't be attached any more
  multiprobe diff before/ after/ --html diff.html     all comparisons, to sort and search
  multiprobe diff before/ after/ --flame diff.svg     stacks, graph: red where there is more after"""

_UNAVAILABLE = 10


class DiffCommand(Command):
    """A command whose `--` divides the runs before from those after."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Split off the runs after."""
        n = n_own(args, is_interspersed=True)
        rest = super().parse_args(ctx, args[:n])
        ctx.params["after"] = tuple(args[n + 1 :]) if n < len(args) else None
        return rest


@click.command("diff", cls=DiffCommand, epilog=EXAMPLES, context_settings=SETTINGS)
@click.argument("before", nargs=-1, metavar="BEFORE… [--] AFTER…", type=click.Path())
@click.option(
    "--fdr",
    cls=SelectionOption,
    type=Percentage(),
    default=FDR,
    show_default="0.1%",
    metavar="0.1%",
    help="How many of all claims may be wrong.",
)
@click.option(
    "--least",
    cls=SelectionOption,
    type=Percentage(has_ends=True),
    default=LEAST,
    show_default="10%",
    metavar="10%",
    help="Claim no smaller change.",
)
@click.option(
    "--by",
    cls=SelectionOption,
    type=click.Choice(["kernel"]),
    help="Compare the runs of each kernel with those of the next newer one.",
)
@click.option(
    "--plan",
    cls=SelectionOption,
    is_flag=True,
    help="Compare what can be attached on two kernels: BEFORE and AFTER are outputs of `functions --json`, or "
    "directories of the kernels' files.",
)
@json_option
@click.option(
    "--html", cls=OutputOption, type=OutputFile(), metavar="FILE", help="Write all comparisons as one HTML page."
)
@flame_option
@output_option
@top_option
@debug_option
def command(
    before: tuple[str, ...],
    after: tuple[str, ...] | None,
    fdr: float,
    least: float,
    by: str | None,
    plan: bool,
    json: bool,
    html: str | None,
    flame: str | None,
    output: str | None,
    top: int | None,
) -> int:
    """Compare saved runs (--save FILE): what is new, gone, called more or less, slower or faster.

    BEFORE and AFTER are files of saved runs, or directories of them. Several runs on each side show what varies by
    itself: then changes are claimed that this can't explain. With one run on a side the sizes of differences are
    printed, and nothing is claimed. Functions that only one of two kernels has are listed, with the reason. With --by
    kernel, all runs are grouped by their kernels.
    """
    if (by is not None or plan) and (html is not None or flame is not None):
        raise UsageError("--by and --plan exclude --html and --flame")
    if plan:
        if by is not None:
            raise UsageError("--plan and --by exclude each other")
        (old,), (new,) = _sides(before, after, most=1)
        with Results(output, is_text=not json) as results:
            diff_plans(old, new, results, is_json=json, top=top)
        return 0
    if by is not None:
        kernels = list(diff_kernels(expand([*before, *(after or ())]), fdr=fdr, least=least))
        with Results(output, is_text=not json) as results:
            print_kernels(kernels, results, is_json=json, top=top)
        return 0
    sides = _sides(before, after)
    found = diff(expand(sides[0]), expand(sides[1]), fdr=fdr, least=least)
    if flame is not None:
        require_flame(found)
    with Results(output, is_text=not json) as results:
        _print(found, results, is_json=json, top=top)
    if flame is not None:
        with writing(flame) as file:
            file.write(flame_picture(found).svg)
    if html is not None:
        with writing(html) as file:
            file.write(_page(found))
    return 0


def require_flame(found: Difference) -> None:
    """Raise UsageError for runs that a flame graph can't show."""
    if not found.flame:
        raise UsageError(
            f"--flame is for runs of stacks and graph, and these are of {found.command}",
            hint="save runs of `multiprobe stacks` or `multiprobe graph`, or use --html",
        )


def flame_picture(found: Difference) -> Picture:
    """The differential flame graph."""
    before, after = found.flame
    if found.command == "graph":
        title, unit = "Time in functions: red took more than before, blue took less", "ns"
    else:
        title = "Stacks: red has more calls than before, blue has fewer"
        unit = next((str(row["unit"]) for row in found.rows if row["measure"] == "calls"), "calls")
    return Picture(title, flame_svg(after, before=before, title=title, unit=unit), is_fluid=True)


def _page(found: Difference) -> str:
    pictures = [flame_picture(found)] if found.flame else []
    rows = [*found.rows, *found.unavailable]
    n_changes = len(found.claims if found.is_tested else [row for row in found.rows if row["is_large"]])
    return comparison_page(f"multiprobe {shlex.join(sys.argv[1:])}", rows, summary(found, n_changes), pictures)


def print_kernels(found: Iterable[KernelDifference], results: Results, *, is_json: bool, top: int | None) -> None:
    """Print the comparisons of kernels, each under the releases of the two."""
    for one in found:
        if not is_json:
            results.lines([f"{one.before} → {one.after}"])
        _print(one.difference, results, is_json=is_json, top=top)


def _print(found: Difference, results: Results, *, is_json: bool, top: int | None) -> None:
    if is_json:
        results.json(found.to_json())
        return
    changes = found.claims if found.is_tested else [row for row in found.rows if row["is_large"]]
    rows = shown(changes, top, DEFAULT_TOP)
    results.table(table(found, rows), n_more=len(changes) - len(rows))
    results.lines(summary(found, len(changes)))


def _sides(
    before: Sequence[str], after: Sequence[str] | None, *, most: int | None = None
) -> tuple[Sequence[str], Sequence[str]]:
    """The files of each side. Raises UsageError unless there are two sides, of at most so many."""
    if most is not None and max(len(before), len(after or ())) > most + (after is None):
        raise UsageError("--plan compares one file or directory with another")
    if after is None and len(before) == 2:
        return before[:1], before[1:]
    if not before or not after:
        raise UsageError(
            "a comparison needs two sides",
            hint="name two files or directories, or put -- between the files before and those after",
        )
    return before, after


def table(found: Difference, rows: Sequence[Mapping[str, object]]) -> TextTable:
    """The changes as text."""
    numbers = [Column("BEFORE", True, 2), Column("AFTER", True, 3), Column("FACTOR", True)]
    tested = [Column("FDR", True, 5)] if found.is_tested else []
    columns = (Column("CHANGE"), *numbers, *tested, Column("MEASURE", drop=4), *label_columns(found.command))
    return TextTable(columns, [_cells(found, row) for row in rows])


def _cells(found: Difference, row: Mapping[str, object]) -> list[str]:
    is_time = row["unit"] == "ns"
    values = [_value(number(row, side), is_time=is_time) for side in ("before", "after")]
    factor = "" if row["factor"] is None else f"{row['factor']:,.2f}"
    tested = [f"{number(row, 'q'):.1g}"] if found.is_tested else []
    return [str(row["change"]), *values, factor, *tested, str(row["measure" if is_time else "unit"]), *label_cells(row)]


def _value(value: float, *, is_time: bool) -> str:
    return time_text(value) if is_time else f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"


def summary(found: Difference, n_changes: int) -> Iterator[str]:
    """How much was compared, what could not be, notes."""
    compared = f"{n_changes:,} of {plural_text(len(found.rows), 'comparison')}"
    if found.is_tested:
        rate = f"at a false discovery rate of {_percent(found.fdr)}"
        yield f"{compared} changed by {_percent(found.least)} or more, {rate}"
    else:
        yield f"{compared} differ by {_percent(found.least)} or more; none can be told from chance"
    if found.unavailable:
        yield f"attached on one side only: {plural_text(len(found.unavailable), 'function')}"
    for row in found.unavailable[:_UNAVAILABLE]:
        module = f" [{row['module']}]" if row["module"] else ""
        calls = plural_text(int(row["calls"]), "call")
        yield f"  {row['function']}{module} ({row['only']} only, {calls}): {row['reason']}"
    if len(found.unavailable) > _UNAVAILABLE:
        yield f"  … and {len(found.unavailable) - _UNAVAILABLE:,} more (--json names all)"
    yield from (f"note: {note}" for note in found.notes)


def _percent(part: float) -> str:
    return f"{100 * part:g} %"

"""`multiprobe merge`: one table over saved runs of many hosts."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from multiprobe.cli.command import SETTINGS, Command
from multiprobe.cli.options import DEFAULT_TOP, csv_option, debug_option, json_option, output_option, top_option
from multiprobe.cli.results import Results
from multiprobe.cli.run_files import expand, label_cells, label_columns, number, shown
from multiprobe.output.table import Column, TextTable
from multiprobe.output.units import percent_text, time_text
from multiprobe.plurals import counted_text, plural_text
from multiprobe.runs.merging import Merged, merge
from multiprobe.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

EXAMPLES = """\
Examples:
  multiprobe merge host1.jsonl.gz host2.jsonl.gz   one table over two hosts
  multiprobe merge runs/ --top 20                  over all files in a directory
  multiprobe merge runs/ --json >all.jsonl         rows, the report of each run, the sum"""

_HOSTS = 10
"""Hosts that text names."""


@click.command("merge", cls=Command, epilog=EXAMPLES, context_settings=SETTINGS)
@click.argument("runs", nargs=-1, required=True, metavar="RUN…", type=click.Path())
@json_option
@csv_option
@output_option
@top_option
@debug_option
def command(runs: tuple[str, ...], json: bool, csv: bool, output: str | None, top: int | None) -> int:
    """Add up saved runs (--save FILE) of many hosts: one table, joined by module and function.

    RUN is the file of a saved run, or a directory of them. Runs must be of the same command with the same settings: of
    count, latency, errors, stacks or graph. Histograms are added bucket by bucket. For each function the table says on
    how many of all hosts it was attached. A run that is given twice counts once.
    """
    merged = merge(expand(runs))
    is_text = not (json or csv)
    with Results(output, is_text=is_text) as results:
        if json:
            results.json(replace(merged, rows=Table(shown(merged.rows, top, 0))).to_json())
        elif csv:
            results.rows(shown(merged.rows, top, 0), csv=True, parquet=None)
            results.lines(summary(merged), file=sys.stderr)
        else:
            rows = shown(merged.rows, top, DEFAULT_TOP)
            results.table(table(merged, rows), n_more=len(merged.rows) - len(rows))
            results.lines(summary(merged))
    return 0


def table(merged: Merged, rows: Sequence[Mapping[str, object]]) -> TextTable:
    """The rows as text: their figures, on how many hosts they are, on how many their function was attached."""
    titles = _TITLES[merged.command]
    columns = [Column(title, True, drop) for drop, title in enumerate(titles, 1)]
    columns += [Column("ON", True, 8), Column("ATTACHED", True, 9), *label_columns(merged.command)]
    everything = sum(number(row, "calls") for row in merged.rows) or 1
    return TextTable(tuple(columns), [_cells(merged, row, everything) for row in rows])


_TITLES = {
    "count": ("CALLS", "RATE/S", "SHARE"),
    "latency": ("CALLS", "TOTAL", "MEAN", "P50", "P90", "P99", "MAX"),
    "errors": ("COUNT",),
    "stacks": ("CALLS", "SHARE"),
    "graph": ("CALLS", "TOTAL", "MEAN", "P50", "P90", "P99", "MAX"),
}


def _cells(merged: Merged, row: Mapping[str, object], everything: float) -> list[str]:
    hosts = [f"{row['hosts']:,}", f"{row['attached_hosts']:,} of {merged.n_hosts:,}", *label_cells(row)]
    share = percent_text(number(row, "calls") / everything)
    if merged.command in ("latency", "graph"):
        times = ("total_ns", "mean_ns", "p50_ns", "p90_ns", "p99_ns", "max_ns")
        return [f"{row['calls']:,}", *(time_text(number(row, name)) for name in times), *hosts]
    if merged.command == "count":
        return [f"{row['calls']:,}", f"{row['rate']:,.1f}", share, *hosts]
    return [f"{row['count']:,}", *hosts] if merged.command == "errors" else [f"{row['calls']:,}", share, *hosts]


def summary(merged: Merged) -> Iterator[str]:
    """What was merged: the hosts, what they missed, notes."""
    hosts, runs = plural_text(merged.n_hosts, "host"), plural_text(len(merged.runs), "run")
    yield f"{plural_text(len(merged.rows), 'row')} of {runs} on {hosts}, {merged.seconds:.2f} s in all"
    for number_, (host, (n_runs, attached)) in enumerate(_by_host(merged).items()):
        if number_ == _HOSTS:
            yield f"… and {merged.n_hosts - _HOSTS:,} more hosts (--json has each report)"
            break
        yield f"  {host}: {plural_text(n_runs, 'run')}, {attached} functions attached"
    missed = ", ".join(counted_text(n, cause.replace("_", " ")) for cause, n in merged.missed.items() if n)
    yield f"missed: {missed or 'nothing known'}"
    yield from (f"note: {note}" for note in merged.notes)


def _by_host(merged: Merged) -> dict[str, tuple[int, str]]:
    """The number of runs of each host, and in its last one how many functions were attached."""
    runs: Counter[str] = Counter()
    attached: dict[str, str] = {}
    for run in merged.runs:
        host, figures = str(run.host), run.figures
        runs[host] += 1
        attached[host] = f"{number(figures, 'attached'):,} of {number(figures, 'requested'):,}"
    return {host: (n, attached[host]) for host, n in runs.items()}

"""`multiprobe fleet`: the same measurement on many hosts, by Dask's distributed."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import ExitStack
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from multiprobe.cli import merge as merging
from multiprobe.cli.command import SETTINGS, Command
from multiprobe.cli.diff import print_kernels
from multiprobe.cli.group import parse
from multiprobe.cli.options import DEFAULT_TOP, debug_option, json_option, output_option, top_option
from multiprobe.cli.results import Results
from multiprobe.cli.run_files import shown
from multiprobe.cli.signals import interruptible
from multiprobe.errors import UsageError
from multiprobe.hosts.fleet import fleet
from multiprobe.hosts.line import require_measuring
from multiprobe.output.progress import Progress
from multiprobe.output.table import Column, TextTable
from multiprobe.runs.grouping import diff_kernels
from multiprobe.runs.totals import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from multiprobe.hosts.outcome import Fleet

EXAMPLES = """\
Examples:
  multiprobe fleet --scheduler tcp://head:8786 count 'vfs_*' --duration 10
  multiprobe fleet --scheduler tls://head:8786 --save runs/ latency 'nfs4_*' -- make
  multiprobe fleet --scheduler tcp://head:8786 --diff-by kernel errors 'ext4:*' --duration 60

Exit status: 0 if every host was measured, 1 if one was not, 2 usage error, 5 without dask.distributed."""

COLUMNS = (Column("HOST"), Column("KERNEL", drop=2), Column("STATE"), Column("WORKER", drop=1), Column("REASON"))


@click.command(
    "fleet",
    cls=Command,
    epilog=EXAMPLES,
    options_metavar="[OPTIONS] [--]",
    context_settings={**SETTINGS, "allow_interspersed_args": False},
)
@click.option("--scheduler", metavar="ADDRESS", required=True, help="The scheduler: tcp://HOST:PORT, tls://HOST:PORT.")
@click.option("--save", metavar="DIR", type=click.Path(file_okay=False), help="Save the run of each host in DIR.")
@click.option(
    "--diff-by",
    type=click.Choice(["kernel"]),
    help="Compare the hosts of each kernel with those of the next newer one.",
)
@json_option
@output_option
@top_option
@debug_option
@click.argument("line", metavar="COMMAND PATTERN…", nargs=-1, required=True, type=click.UNPROCESSED)
def command(
    scheduler: str,
    save: str | None,
    diff_by: str | None,
    json: bool,
    output: str | None,
    top: int | None,
    line: tuple[str, ...],
) -> int:
    """Measure on many hosts at once: on every host that has a worker of a Dask scheduler, each once.

    COMMAND is a measuring command (count, latency, errors, …) with its patterns and options. Workers are Dask's: start
    them as root with `dask worker`, dask-ssh, dask-jobqueue or dask-kubernetes, where this version of multiprobe is
    installed. Hosts that fail, or are lost, are listed with the reason. Ctrl-C ends the measurement everywhere and
    prints what there is.
    """
    _check(line, diff_by)
    with ExitStack() as cleanup, Results(output, is_text=not json) as results:
        directory = save or cleanup.enter_context(TemporaryDirectory(prefix="multiprobe-"))
        found = _fleet(line, scheduler, directory)
        _print_hosts(found, results, is_json=json)
        if found.paths and diff_by is not None:
            print_kernels(diff_kernels(found.paths), results, is_json=json, top=top)
        elif found.paths and line[0] in KINDS:
            _print_sum(found, results, is_json=json, top=top)
        if save is None and line[0] not in KINDS:
            results.lines([f"runs of {line[0]} are not added up: --save DIR keeps them"], file=sys.stderr)
    return 0 if found.is_complete else 1


def _check(line: tuple[str, ...], diff_by: str | None) -> None:
    """Raise UsageError, or what click raises, for what would fail on every host."""
    require_measuring(line)
    with parse(line):
        pass
    if diff_by is not None and line[0] not in KINDS:
        raise UsageError(f"runs of {line[0]} can't be compared", hint=f"use {', '.join(KINDS)}")


def _fleet(line: tuple[str, ...], scheduler: str, directory: str) -> Fleet:
    with interruptible(), Progress("measuring") as progress:
        return fleet(line, scheduler=scheduler, save=directory, on_progress=_progress_of(progress))


def _progress_of(progress: Progress) -> Callable[[Mapping[str, str]], None]:
    """Say how many hosts are in which state, and the names of those that were lost."""

    def update(states: Mapping[str, str]) -> None:
        numbers = Counter(states.values())
        lost = [name for name, state in states.items() if state == "lost"]
        named = f" ({', '.join(lost[:3])}{', …' if len(lost) > 3 else ''})" if lost else ""
        text = ", ".join(f"{n} {state}{named if state == 'lost' else ''}" for state, n in sorted(numbers.items()))
        progress.step(f"hosts: {text}", numbers["ended"], len(states))

    return update


def _print_hosts(found: Fleet, results: Results, *, is_json: bool) -> None:
    if is_json:
        results.json(host.to_json() for host in found.hosts)
        return
    rows = [
        [host.name, "" if host.host is None else host.host.kernel, host.state, host.worker, host.reason]
        for host in found.hosts
    ]
    results.table(TextTable(COLUMNS, rows))


def _print_sum(found: Fleet, results: Results, *, is_json: bool, top: int | None) -> None:
    merged = found.merged()
    if is_json:
        results.json(merged.to_json())
        return
    rows = shown(merged.rows, top, DEFAULT_TOP)
    results.table(merging.table(merged, rows), n_more=len(merged.rows) - len(rows))
    results.lines(merging.summary(merged))

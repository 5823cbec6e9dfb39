"""`multiprobe bench`: measures attaching and tracing on this machine, beside the tools that are installed.

The measurements are in the package `bench`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

import multiprobe as mp
from multiprobe.bench import attaching, bpftrace, machine, plots
from multiprobe.bench.benches import BENCHES
from multiprobe.bench.figures import Task
from multiprobe.bench.tables import tables
from multiprobe.cli.command import SETTINGS, Command
from multiprobe.cli.completing import complete_pattern
from multiprobe.cli.options import OutputOption, SelectionOption, general_options, json_option, output_option
from multiprobe.cli.params import POSITIVE, OutputDirectory
from multiprobe.cli.results import Results
from multiprobe.cli.rights import require_rights
from multiprobe.errors import NoMatchError
from multiprobe.functions.request import why_no_match
from multiprobe.output.progress import Progress
from multiprobe.output.terminal import write_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from multiprobe.bench.bpftrace import Bpftrace
    from multiprobe.bench.figures import Figure

EXAMPLES = """\
Examples:
  multiprobe bench                         everything, on all functions of this kernel
  multiprobe bench attach 'tcp_*'          attaching to some functions
  multiprobe bench hit --runs 9 --json     what a hit costs, more exactly, for scripts
  multiprobe bench attach --vm=7.3         in a virtual machine with Linux 7.3
  multiprobe bench --plot pictures         also as plots (SVG)

Requires root. Attaches to the functions of the running kernel, and detaches: a few seconds for each measurement."""

RUNS = 3


def _complete(context: click.Context, param: click.Parameter, begun: str) -> list[str]:
    kinds = [name for name in BENCHES if name.startswith(begun)]
    return [*kinds, *complete_pattern(context, param, begun)]


@click.command("bench", cls=Command, epilog=EXAMPLES, context_settings=SETTINGS)
@click.argument("words", nargs=-1, metavar=f"[{'|'.join(BENCHES)}]… [PATTERN…]", shell_complete=_complete)
@click.option(
    "--runs", cls=SelectionOption, type=POSITIVE, default=RUNS, show_default=True, metavar="N", help="Measure N times."
)
@click.option(
    "--bpftrace",
    "bpftraces",
    cls=SelectionOption,
    type=click.Path(exists=True, dir_okay=False, executable=True),
    multiple=True,
    metavar="PATH",
    help="Measure beside this bpftrace instead of that on PATH; several: ratios are to the first.",
)
@json_option
@output_option
@click.option(
    "--plot",
    cls=OutputOption,
    metavar="DIR",
    type=OutputDirectory(),
    help="Also draw the figures, as SVG files in DIR.",
)
@general_options
def command(
    words: tuple[str, ...], runs: int, bpftraces: tuple[str, ...], json: bool, output: str | None, plot: str | None
) -> int:
    """Measure on this machine what attaching and tracing cost, beside other tools.

    attach: time to attach an empty program to 10, 100, 1,000, 10,000 and all functions, and to detach it. hit: what a
    call of a probed function costs more. events: events received per second of processor time. start: from the command
    line to attached, by phase. memory: kernel memory by command and number of CPUs. Without one of these words: all.

    The tools take turns in every run; the figures are medians with the distance from the least to the most (±).
    bpftrace, and libbpf in C, are measured where they are installed.
    """
    if plot is not None:
        plots.require()
    kinds, patterns = divide(words)
    require_rights()
    found: list[Figure] = []
    peers = bpftrace.at(bpftraces) if bpftraces else bpftrace.installed()
    with Results(output, is_text=not json) as results, Progress() as progress:
        task = _task(patterns, runs, peers, progress)
        described = machine.describe({one.name: one.version_line for one in peers})
        if json:
            results.json([described])
        try:
            for kind in kinds:
                for figure in BENCHES[kind](task):
                    found.append(figure)
                    if json:
                        results.json([figure.to_json()])
        finally:  # after Ctrl-C as well
            progress.step("")
            _finish(results, described, found, task.notes, is_json=json)
    if plot is not None:
        write_lines(plots.draw(found, plot), sys.stderr)
    return 0


def divide(words: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """The kinds of measurements at the beginning, all if there are none, and the patterns after them."""
    n = next((n for n, word in enumerate(words) if word not in BENCHES), len(words))
    return list(dict.fromkeys(words[:n])) or list(BENCHES), tuple(words[n:]) or ("*",)


def _task(patterns: tuple[str, ...], runs: int, peers: tuple[Bpftrace, ...], progress: Progress) -> Task:
    progress.step("reading the kernel's functions")
    kernel = mp.Kernel()
    functions = kernel.functions(*patterns)
    if not functions.n_attachable():
        raise NoMatchError(
            f"no function that can be attached to matches {' '.join(patterns)}{why_no_match(kernel.table, patterns)}",
            hint="`multiprobe functions PATTERN…` lists what a pattern matches, and why not",
        )
    return Task(functions, patterns, runs, peers, step=lambda what: progress.step(what, is_for_terminal=True))


def _finish(
    results: Results, described: dict[str, object], found: list[Figure], notes: list[str], *, is_json: bool
) -> None:
    if is_json:
        results.json({"type": "note", "note": note} for note in notes)
        return
    results.lines([*_machine_lines(described), ""])
    for kind, table in tables(found):
        results.table(table)
        if kind == "attach":
            results.lines([*attaching.lines(found), ""])
    results.lines(f"note: {note}" for note in notes)


def _machine_lines(described: dict[str, object]) -> Iterator[str]:
    yield f"Linux {described['kernel']}, {described['cpus']} CPUs, {described['cpu']}"
    yield f"virtualisation: {described['virtualisation']}"
    yield ", ".join(
        (f"multiprobe {described['multiprobe']}", f"Python {described['python']}", *machine.peer_texts(described))
    )

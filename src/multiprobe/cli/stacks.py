"""`multiprobe stacks`: the stacks that lead to functions, counted or timed."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING

import click

from multiprobe.binaries.mixed import binary_parts, name_fields
from multiprobe.cli.files import writing
from multiprobe.cli.measurement import Measurement
from multiprobe.cli.measuring_command import measuring_command
from multiprobe.cli.options import (
    MeasuringOptions,
    SelectionOption,
    StoppingOption,
    flame_option,
    folded_option,
    measuring_options,
    top_option,
)
from multiprobe.cli.params import WholeNumber
from multiprobe.instruments.stacks import instrument as stacks
from multiprobe.instruments.stacks.instrument import StacksSample
from multiprobe.instruments.stacks.program import MAX_STACKS, NO_STACK, StacksProbe
from multiprobe.output.flame import flame_svg
from multiprobe.output.folded import fold, folded_lines
from multiprobe.output.page import Picture
from multiprobe.output.terminal import write_lines
from multiprobe.output.units import percent_text, time_text
from multiprobe.plurals import plural_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.compiler.program import Program
    from multiprobe.instruments.instrument import AttachOptions, Instrument
    from multiprobe.instruments.stacks.instrument import Stack

EXAMPLES = """\
Examples:
  multiprobe stacks vfs_fsync -d 10                          what writes to disk
  multiprobe stacks 'tcp_send*' --user --pid 4242            with the stack of the process
  multiprobe stacks schedule --time --flame wait.svg -- make where a command waits
  multiprobe stacks './a.out:work' -- ./a.out                who calls a function of a program
  multiprobe stacks kmem_cache_alloc --folded -d 5 | flamegraph.pl >a.svg"""

DEFAULT_TOP = 10
"""Stacks shown unless `--top` is given."""
EVERY = 0.2
"""Seconds between two reads of the mappings of new processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StacksOptions(MeasuringOptions):
    """The options of `stacks`."""

    user: bool = False
    time: bool = False
    max_stacks: int = MAX_STACKS
    flame: str | None = None


class StacksMeasurement(Measurement[StacksOptions, StacksSample]):
    """Counts stacks."""

    every = EVERY

    def __init__(self, options: StacksOptions) -> None:
        super().__init__(options)
        self.when = "session" if options.time else "entry"

    def program(self, functions: AnyFunctionSet) -> Program:
        """The program."""
        own = self.options
        has_programs = bool(binary_parts(functions))
        probe = StacksProbe(has_user=own.user, is_timed=own.time, has_programs=has_programs, max_stacks=own.max_stacks)
        return probe.program

    def start(self, functions: AnyFunctionSet, options: AttachOptions) -> Instrument[StacksSample]:
        """Attach and count."""
        own = self.options
        return stacks.start(
            functions,
            has_user=own.user,
            is_timed=own.time,
            max_stacks=own.max_stacks,
            **options,
        )

    def finish(self, sample: StacksSample) -> None:
        """Write the flame graph, and why inlined functions are not known."""
        write_lines([f"note: {note}" for note in sample.notes], sys.stderr)
        if self.options.flame is None:
            return
        with writing(self.options.flame) as file:
            file.writelines(picture.svg for picture in self.pictures(sample))

    def pictures(self, sample: StacksSample) -> Iterator[Picture]:
        """The flame graph."""
        title = f"Stacks to {' '.join(self.options.patterns)}"
        unit = "ns" if self.options.time else "calls"
        yield Picture(title, flame_svg(self._folded(sample), title=title, unit=unit), is_fluid=True)

    def figures(self, sample: StacksSample) -> dict[str, object]:
        """The numbers of calls and of stacks."""
        return {
            "calls": sample.n_calls,
            "stacks": len(sample.stacks),
            "not_taken": sample.not_taken,
            "seconds": round(sample.seconds, 6),
        }

    def settings(self) -> dict[str, object]:
        """Whose stacks are recorded, and whether they are timed."""
        return {**super().settings(), "user": self.options.user, "time": self.options.time}

    def rows(self, sample: StacksSample, *, top: int = 0) -> Iterator[dict[str, object]]:
        """A row for each different stack."""
        for stack in sample.stacks[: top or None]:
            function = self.instrument.functions[stack.function]
            yield {
                "type": "stack",
                **name_fields(function),
                "calls": stack.calls,
                "frames": list(stack.frames),
                **({"places": list(stack.places)} if stack.places else {}),
            } | ({"ns": stack.ns} if self.options.time else {})

    def print(self, sample: StacksSample) -> None:
        """Print the stacks with the most calls or time, and the number of all calls."""
        shown = sample.stacks[: self.options.limit(DEFAULT_TOP)]
        self.results.lines(_lines(shown, sample, is_timed=self.options.time))
        if len(sample.stacks) > len(shown):
            self.results.lines([f"… and {len(sample.stacks) - len(shown):,} more (--top 0 shows all)", ""])
        calls, ways = plural_text(sample.n_calls, "call"), plural_text(len(sample.stacks), "different stack")
        self.results.lines([f"{calls} by {ways} in {sample.seconds:.2f} s"])
        self.results.lines(
            f"of {plural_text(n, 'call')} the stack could not be taken ({reason})"
            for reason, n in sample.not_taken.items()
        )

    def folded(self, sample: StacksSample) -> Iterator[str]:
        """A line for each different stack."""
        return iter(folded_lines(self._folded(sample)))

    def _folded(self, sample: StacksSample) -> dict[tuple[str, ...], int]:
        """Frames without a name are not told apart, since their addresses differ between processes."""
        named = (tuple("?" if frame.startswith("0x") else frame for frame in stack.frames) for stack in sample.stacks)
        numbers = (stack.ns if self.options.time else stack.calls for stack in sample.stacks)
        return fold(zip(named, numbers, strict=True))


def _lines(stacks: Sequence[Stack], sample: StacksSample, *, is_timed: bool) -> Iterator[str]:
    """Each stack as a block: its figures beside the function, and its callers below."""
    everything = sum(stack.ns if is_timed else stack.calls for stack in sample.stacks) or 1
    if not stacks:
        return
    titles = ("TIME", "MEAN", "CALLS", "SHARE") if is_timed else ("CALLS", "SHARE")
    cells = [_cells(stack, everything, is_timed=is_timed) for stack in stacks]
    widths = [max(8, *map(len, column)) for column in zip(*cells, strict=True)]
    yield "".join(f"  {title:>{width}}" for title, width in zip(titles, widths, strict=True)) + "  STACK"
    for stack, row in zip(stacks, cells, strict=True):
        numbers = "".join(f"  {cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        function, *callers = reversed(list(map(_placed, stack.frames, stack.places or repeat(""))))
        yield f"{numbers}  {function}"
        yield from (f"{'':>{len(numbers)}}  {caller}" for caller in callers)
        yield ""


def _placed(frame: str, places: str) -> str:
    """A frame with its places in the source, without the folders."""
    return f"{frame}  {', '.join(map(os.path.basename, places.split(', ')))}" if places else frame


def _cells(stack: Stack, everything: int, *, is_timed: bool) -> list[str]:
    """The figures of a stack."""
    share = percent_text((stack.ns if is_timed else stack.calls) / everything)
    times = [time_text(stack.ns), time_text(stack.ns / stack.calls)] if is_timed else []
    return [*times, f"{stack.calls:,}", share]


@measuring_command("stacks", StacksOptions, examples=EXAMPLES)
@click.option("--user", cls=SelectionOption, is_flag=True, help="Record the stack of the process, too.")
@click.option("--time", cls=SelectionOption, is_flag=True, help="Measure the time spent in the functions, too.")
@click.option(
    "--max-stacks",
    cls=StoppingOption,
    type=WholeNumber(1, NO_STACK - 1),
    default=MAX_STACKS,
    show_default=True,
    metavar="N",
    help="Room for N different stacks.",
)
@flame_option
@folded_option
@top_option
@measuring_options
def command(options: StacksOptions) -> StacksMeasurement:
    """Count the stacks that lead to the selected functions.

    Each different stack is printed once, with the function on top and its callers below, in descending order of calls,
    or of time with --time. Stacks are taken at the entry of a function: of functions of the kernel the kernel's stack,
    of those of programs and libraries the stack of the process, as far as frame pointers lead.
    """
    return StacksMeasurement(options)

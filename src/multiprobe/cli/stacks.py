"""`multiprobe stacks`: which stacks lead to functions, counted or timed.

Knows options, order of events and words; the counting is `instruments.stacks`, what files look like is `output`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.cli.command import Asked, Command, Question
from multiprobe.cli.forms import check_files
from multiprobe.cli.options import Option
from multiprobe.instruments.stacks import instrument as stacks
from multiprobe.output.flame import flame_svg
from multiprobe.output.folded import fold, folded_lines
from multiprobe.output.units import percent_text, plural_text, time_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from multiprobe.functions.sets import FunctionSet
    from multiprobe.instruments.stacks.instrument import Sample, Stack, Stacking

OWN = (
    Option("user", ("--user",), "flag", "The process's own stack, too.", default=False),
    Option("time", ("--time",), "flag", "Time spent in the functions, not only calls.", default=False),
    Option("max_stacks", ("--max-stacks",), "natural", "Room for so many different ones.", "N", 16_384),
    Option("flame", ("--flame",), "text", "Write a flame graph, as SVG.", "FILE"),
    Option("folded", ("--folded",), "flag", "Print folded stacks; all else goes to stderr.", default=False),
)

HELP = """Show on which ways the functions that a PATTERN matches are reached: kernel stacks, counted.

Each different stack is shown once, those with the most calls (with --time: the most time) first, its function on top,
what called it below. Stacks are taken at the entry of a function. Ends after --duration, with COMMAND, or with Ctrl-C.
"""

EXAMPLES = """\
Examples:
  multiprobe stacks vfs_fsync -d 10                  who writes to disk
  multiprobe stacks 'tcp_send*' --user --pid 4242    … from where in the program
  multiprobe stacks schedule --time --flame wait.svg -- make   where it waits
  multiprobe stacks kmem_cache_alloc --folded -d 5 | flamegraph.pl >a.svg"""

#: Stacks shown unless `--top` says otherwise.
DEFAULT_TOP = 10
EVERY = 0.2
"""Seconds between looks at which processes there are."""


class StacksQuestion(Question):
    """On which ways are functions reached?"""

    every = EVERY
    is_looking = True
    measuring: Stacking

    def __init__(
        self, asked: Asked, *, user: bool, time: bool, max_stacks: int, flame: str | None, folded: bool
    ) -> None:
        super().__init__(asked)
        check_files(flame)
        self.when = "session" if time else "entry"
        self.is_timed, self.flame = time, flame
        self.options: dict[str, Any] = {"has_user": user, "is_timed": time, "max_stacks": max_stacks}

    def start(self, functions: FunctionSet, **options: Any) -> Stacking:
        """Attach."""
        return stacks.start(functions, **self.options, **options)

    def finish(self, sample: Sample) -> None:
        """The flame graph."""
        if self.flame is None:
            return
        title = f"Stacks to {' '.join(self.asked.patterns)}"
        with open(self.flame, "w", encoding="utf-8") as file:
            file.write(flame_svg(self._folded(sample), title=title, unit="ns" if self.is_timed else "calls"))

    def figures(self, sample: Sample) -> dict[str, Any]:
        """All calls together."""
        return {
            "calls": sample.n_calls,
            "stacks": len(sample.stacks),
            "not_taken": sample.not_taken,
            "seconds": round(sample.seconds, 6),
        }

    def rows(self, sample: Sample) -> Iterator[dict[str, Any]]:
        """A row for each different stack."""
        for stack in sample.stacks[: self.asked.top or None]:
            function = self.measuring.functions[stack.function]
            yield {
                "type": "stack",
                "function": function.name,
                "module": function.module,
                "calls": stack.calls,
                "frames": list(stack.frames),
            } | ({"ns": stack.ns} if self.is_timed else {})

    def print(self, sample: Sample, report: dict[str, Any]) -> None:
        """The stacks with most calls or time, and all calls together."""
        shown = sample.stacks[: self.asked.limit(DEFAULT_TOP)]
        for line in _lines(shown, sample, is_timed=self.is_timed):
            print(line)
        if len(sample.stacks) > len(shown):
            print(f"… and {len(sample.stacks) - len(shown):,} more (--top 0 shows all)\n")
        calls, stacks = plural_text(sample.n_calls, "call"), plural_text(len(sample.stacks), "different stack")
        print(f"{calls} by {stacks} in {sample.seconds:.2f} s")
        for reason, n in sample.not_taken.items():
            print(f"of {n:,} calls the kernel's stack could not be taken ({reason})")

    def folded(self, sample: Sample) -> Iterator[str]:
        """A line for each different stack."""
        return iter(folded_lines(self._folded(sample)))

    def _folded(self, sample: Sample) -> dict[tuple[str, ...], int]:
        """Frames without a name are one and the same here: each process has them at other addresses."""
        named = (tuple("?" if frame.startswith("0x") else frame for frame in stack.frames) for stack in sample.stacks)
        numbers = (stack.ns if self.is_timed else stack.calls for stack in sample.stacks)
        return fold(zip(named, numbers, strict=True))


def _lines(stacks: Sequence[Stack], sample: Sample, *, is_timed: bool) -> Iterator[str]:
    """Each stack as a block: its numbers beside the function, below it what called it."""
    everything = sum(stack.ns if is_timed else stack.calls for stack in sample.stacks) or 1
    if not stacks:
        return
    titles = ("TIME", "MEAN", "CALLS", "SHARE") if is_timed else ("CALLS", "SHARE")
    yield "".join(f"{title:>10}" for title in titles) + "  STACK"
    for stack in stacks:
        share = percent_text((stack.ns if is_timed else stack.calls) / everything)
        times = (time_text(stack.ns), time_text(stack.ns / stack.calls)) if is_timed else ()
        numbers = "".join(f"{cell:>10}" for cell in (*times, f"{stack.calls:,}", share))
        function, *callers = reversed(stack.frames)
        yield f"{numbers}  {function}"
        yield from (f"{'':>{len(numbers)}}  {caller}" for caller in callers)
        yield ""


COMMAND = Command("stacks", HELP, EXAMPLES, StacksQuestion, OWN, ("top",))

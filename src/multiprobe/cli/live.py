"""`--live`: runs the full-screen view of an instrument. What is shown is the command's."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from multiprobe import threads
from multiprobe.errors import UsageError
from multiprobe.output.terminal import can_redraw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from multiprobe.cli.signals import Until
    from multiprobe.functions.sets import FunctionSet
    from multiprobe.output.frame import LiveFrame

HISTORY = 60
_N_THREADS = 4  # textual's for input and output, ours for frames and for callers
SampleT = TypeVar("SampleT")
SampleT_co = TypeVar("SampleT_co", covariant=True)


class Sampled(Protocol[SampleT_co]):
    """An instrument that runs."""

    def sample(self) -> SampleT_co:
        """The results so far."""


def check(*, is_text: bool) -> None:
    """Raise UsageError without a screen that can be redrawn, or a keyboard."""
    if not is_text:
        raise UsageError("--live doesn't go with --json or --csv", hint="--parquet FILE writes the results beside it")
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("--live needs a terminal", hint="leave it out where input or messages go to a file or pipe")
    if not can_redraw(sys.stderr):
        raise UsageError(f"--live can't draw on this terminal: TERM={os.environ.get('TERM', '')}", hint="leave it out")


@dataclass(frozen=True, slots=True)
class Live(Generic[SampleT]):
    """The full-screen view of an instrument whose results at one moment are a `SampleT`.

    frame: what is shown of a sample and the one before, or None; functions: those that are attached; sort: the column
    to sort by at first
    """

    frame: Callable[[SampleT, SampleT | None], LiveFrame]
    functions: FunctionSet
    sort: int = 0

    def run(
        self,
        measuring: Sampled[SampleT],
        until: Until,
        *,
        every: Callable[[], float],
        on_sample: Callable[[SampleT], object] | None = None,
    ) -> None:
        """Show samples until the end, or until the user ends it. `on_sample` ends it by answering True.

        Raises KernelError if there can't be the threads of a screen: textual hangs where one can't be started.
        """
        from multiprobe.instruments.stacks.callers import Callers
        from multiprobe.output.screen import show_screen

        threads.require(_N_THREADS, "the full-screen view")
        show_screen(
            self._frames(measuring, until, every, on_sample),
            lambda index: Callers(self.functions.take([index])),
            on_end=until.end,
            sort=self.sort,
        )

    def _frames(
        self,
        measuring: Sampled[SampleT],
        until: Until,
        every: Callable[[], float],
        on_sample: Callable[[SampleT], object] | None,
    ) -> Iterator[LiveFrame]:
        before: SampleT | None = None
        while True:
            sample = measuring.sample()
            if on_sample is not None and on_sample(sample):
                return
            yield self.frame(sample, before)
            before = sample
            if until.wait(every()):
                return


class History:
    """The last totals of all functions, for one function's recent past."""

    def __init__(self) -> None:
        self._samples: list[tuple[float, Sequence[int]]] = []

    def note(self, seconds: float, totals: Sequence[int]) -> None:
        """Keep a sample."""
        if not self._samples or seconds > self._samples[-1][0]:
            self._samples = [*self._samples[-HISTORY:], (seconds, totals)]

    def rates(self, index: int) -> list[float]:
        """A function's calls per second between samples, the oldest first."""
        return [(now[1][index] - then[1][index]) / (now[0] - then[0]) for then, now in pairwise(self._samples)]

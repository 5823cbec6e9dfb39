"""`--live`: runs the full-screen view of an instrument. What is shown is the command's."""

from __future__ import annotations

import os
import sys
from array import array
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from multiprobe import threads
from multiprobe.errors import UsageError
from multiprobe.output.chart import Recent
from multiprobe.output.terminal import can_redraw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.cli.signals import Until
    from multiprobe.output.frame import LiveFrame

HISTORY = 180
"""Samples that are kept for the chart of one row: three minutes of them."""
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
    functions: AnyFunctionSet
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
    """How much sums grew in the last minutes, by key. Keeps only what grew: most functions rest most of the time."""

    def __init__(self, what: str = "calls a second") -> None:
        self._what = what
        self._seconds: float | None = None
        self._sums: Mapping[int, int] = {}
        self._past: tuple[_Growth, ...] = ()  # replaced, never changed: another thread reads it

    def note(self, seconds: float, sums: Mapping[int, int]) -> None:
        """Keep the sums at a moment."""
        if self._seconds is not None:
            if seconds <= self._seconds:
                return
            grown = sorted(key for key, n in sums.items() if n > self._sums.get(key, 0))
            increments = array("Q", [sums[key] - self._sums.get(key, 0) for key in grown])
            growth = _Growth(seconds - self._seconds, array("Q", grown), increments)
            self._past = (*self._past[1 - HISTORY :], growth)
        self._seconds, self._sums = seconds, dict(sums)

    def recent(self, key: int) -> Recent:
        """The increments of one sum per second, the oldest first."""
        past = self._past
        rates = [growth.of(key) / growth.seconds for growth in past]
        return Recent(self._what, rates, sum(growth.seconds for growth in past))


@dataclass(frozen=True, slots=True)
class _Growth:
    """What was added in so many seconds: keys, ascending, and their increments."""

    seconds: float
    keys: array[int]
    increments: array[int]

    def of(self, key: int) -> int:
        """A key's increment."""
        at = bisect_left(self.keys, key)
        return self.increments[at] if at < len(self.keys) and self.keys[at] == key else 0

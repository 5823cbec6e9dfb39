"""`--live`: the full-screen view of an instrument that runs. Knows when to draw; what is drawn is the instrument's.

Imports rich (through `output.fullscreen`), and so is only imported once everything is attached.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from multiprobe.errors import MultiprobeError, UsageError
from multiprobe.instruments.callers import Callers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from multiprobe.cli.stopping import Until
    from multiprobe.functions.sets import FunctionSet
    from multiprobe.instruments.callers import Callers
    from multiprobe.output.view import Frame, View

FUNCTION = (1 << 32) - 1
HISTORY = 60
_MOST_CALLERS = 12


def check(*, is_text: bool) -> None:
    """Raise UsageError where there is no screen or no keyboard."""
    if not is_text:
        raise UsageError("--live doesn't go with --json or --csv", hint="--parquet FILE writes the results beside it")
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("--live needs a terminal", hint="leave it out where input or messages go to a file or pipe")


class Live:
    """What a screen shows of an instrument.

    `frame(sample, the one before or None)` makes the table, each row's key with the index of its function (FUNCTION:
    not known) in the low 32 bits; `details(key, sample)` the lines about one row, before its function's callers.
    """

    def __init__(
        self,
        *,
        frame: Callable[[Any, Any], Frame],
        details: Callable[[int, Any], Sequence[str]],
        functions: FunctionSet,
        view: View | None = None,
    ) -> None:
        self._frame = frame
        self._details = details
        self._functions = functions
        self._view = view
        self._callers: Callers | None = None
        self._trouble = ""
        self._sample: Any = None

    def run(self, measuring: Any, until: Until, *, every: float) -> None:
        """Draw until the end, or until the user has had enough."""
        from multiprobe.output.fullscreen import FullScreen

        before: Any = None
        keyboard = sys.stdin.fileno()
        until.watch_input(keyboard)
        try:
            with FullScreen(
                keyboard=keyboard, screen=sys.stderr, details=self._lines, on_details=self._look_at, view=self._view
            ) as screen:
                drawn = -every
                while not screen.is_ended:
                    sample = measuring.sample()
                    if sample.seconds - drawn >= every or self._sample is None:
                        before, self._sample, drawn = self._sample, sample, sample.seconds
                    screen.show(self._frame(self._sample, before))
                    if until.wait(every):
                        break
        finally:
            self._look_at(None)

    def _look_at(self, key: int | None) -> None:
        """Attach to the one function whose details are shown; detach from the one before."""
        if self._callers is not None:
            self._callers.close()
            self._callers = None
        self._trouble = ""
        if key is None:
            return
        if key & FUNCTION == FUNCTION:
            self._trouble = "it is not known which function it was"
            return
        try:
            self._callers = Callers(self._functions.take([key & FUNCTION]))
        except MultiprobeError as error:
            self._trouble = str(error)

    def _lines(self, key: int) -> list[str]:
        name = "?" if key & FUNCTION == FUNCTION else str(self._functions[key & FUNCTION])
        lines = [name, "", *self._details(key, self._sample), ""]
        if self._callers is None:
            return [*lines, f"callers can't be shown: {self._trouble}" if self._trouble else ""]
        counts = self._callers.counts()
        everything = sum(n for _, n in counts) or 1
        lines.append("called from, since you look:" if counts else "not called since you look")
        return lines + [f"{n:>12,}  {n / everything:>6.1%}  {name}" for name, n in counts[:_MOST_CALLERS]]


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
        pairs = zip(self._samples, self._samples[1:], strict=False)
        return [(now[1][index] - then[1][index]) / (now[0] - then[0]) for then, now in pairs]

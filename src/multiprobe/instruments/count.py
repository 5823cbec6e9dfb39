"""Counting calls: the program in our own language, and what is made of its numbers.

Knows how to attach, sample, rank; must not know terminals, signals or output formats.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.instruments.running import Running

if TYPE_CHECKING:
    from array import array
    from collections.abc import Sequence
    from typing import Any

    from multiprobe.functions.sets import Function, FunctionSet

calls = mp.PerFunction(mp.u64)


@mp.program
def count(ctx: Any) -> None:
    """Count every call of every function, each CPU for itself."""
    calls[ctx.function] += 1


@dataclass(frozen=True, slots=True)
class Sample:
    """All counters at one moment: `seconds` since counting began, `totals` by function index."""

    seconds: float
    totals: array[int]


@dataclass(frozen=True, slots=True)
class CallCount:
    """One function's calls: how many, how many a second, its share of all that were counted (0 to 1), its index."""

    function: Function
    calls: int
    rate: float
    share: float
    index: int


class Counting(Running):
    """A running count. Must be closed, which detaches; `sample` reads the counters at any time before."""

    def __init__(self, attachment: Any) -> None:
        super().__init__(attachment)
        self._began = time.monotonic()
        self._last: Sample | None = None

    def sample(self) -> Sample:
        """The counters now, or, after `stop`, as they were then."""
        if self._last is not None:
            return self._last
        return Sample(time.monotonic() - self._began, self._attachment.totals(calls))

    def stop(self) -> Sample:
        """Count no more, and note what was missed; the last sample."""
        if self._last is None:
            self._attachment.pause()
            self._last = self.sample()
            self._attachment.set_missed(self._attachment.missed())
        return self._last


def start(functions: FunctionSet, **options: Any) -> Counting:
    """Attach to `functions`; the options are those of `multiprobe.attach`."""
    return Counting(mp.attach(count, functions, **options))


def rank(totals: Sequence[int], *, top: int = 0) -> list[int]:
    """Indices of the called functions, most calls first (equal ones in index order); `top` of them, or all."""
    called = [index for index, n in enumerate(totals) if n]
    called.sort(key=lambda index: -totals[index])
    return called[:top] if top else called


def call_counts(
    functions: Sequence[Function] | FunctionSet, sample: Sample, *, before: Sample | None = None, top: int = 0
) -> list[CallCount]:
    """The called functions, most calls first; the rate is over the whole time, or over that since `before`."""
    everything = sum(sample.totals) or 1
    seconds = sample.seconds - (before.seconds if before else 0.0)
    return [
        CallCount(
            functions[index],
            sample.totals[index],
            (sample.totals[index] - (before.totals[index] if before else 0)) / seconds if seconds > 0 else 0.0,
            sample.totals[index] / everything,
            index,
        )
        for index in rank(sample.totals, top=top)
    ]

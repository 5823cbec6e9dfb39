"""Counts the calls of each attached function: the program, the instrument, and the rates it derives.

Every function has counters of its own, to which CPUs add atomically, so the counts are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.instruments.instrument import AttachOptions, Instrument

if TYPE_CHECKING:
    from array import array
    from collections.abc import Sequence
    from typing import Unpack

    from multiprobe.binaries.mixed import AnyFunction, AnyFunctionSet

calls = mp.PerFunction(mp.u64, shared=True)


@mp.program
def count(ctx: mp.Context) -> None:
    """Count every call of every function."""
    calls[ctx.function] += 1


@dataclass(frozen=True, slots=True)
class CountSample:
    """All counters at one moment: `seconds` since counting began, `totals` by function index."""

    seconds: float
    totals: array[int]

    @property
    def n_calls(self) -> int:
        """The calls of all functions."""
        return sum(self.totals)

    @property
    def n_called(self) -> int:
        """How many functions were called."""
        return sum(1 for n in self.totals if n)


@dataclass(frozen=True, slots=True)
class CallCount:
    """One function's calls: their number, the calls per second, the fraction of all counted calls, its index."""

    function: AnyFunction
    calls: int
    rate: float
    share: float
    index: int


class CallCounter(Instrument[CountSample]):
    """A running count of calls."""

    def _read(self) -> CountSample:
        return CountSample(self.seconds, self._attachment.totals(calls))


def start(functions: AnyFunctionSet, *, when: str = "entry", **options: Unpack[AttachOptions]) -> CallCounter:
    """Attach to `functions` and count. `when` and the other options are those of `multiprobe.attach`."""
    return CallCounter(mp.attach(count, functions, when=when, **options))


def rank(totals: Sequence[int], *, top: int = 0) -> list[int]:
    """Indices of the called functions, most calls first (equal ones in index order); `top` of them, or all."""
    called = [index for index, n in enumerate(totals) if n]
    called.sort(key=lambda index: -totals[index])
    return called[:top] if top else called


def call_counts(
    functions: Sequence[AnyFunction] | AnyFunctionSet,
    sample: CountSample,
    *,
    before: CountSample | None = None,
    top: int = 0,
) -> list[CallCount]:
    """The called functions, most calls first. Rates are those since `before`, or over the whole time."""
    everything = sample.n_calls or 1
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

"""The BPF program that times calls, in four variants: per function or per task, with or without self time.

Each call is timed by its own session cookie, so recursion, preemption and calls on other CPUs are told apart. What is
not measured is not in the program, and costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.errors import UsageError
from multiprobe.instruments.latency import self_time

if TYPE_CHECKING:
    from typing import Any

    from multiprobe.compiler.program import Helper, Program

BY = ("process", "thread")
MAX_KEYS = 65_536
"""Room for pairs of a function and a process (or thread)."""


class LatencyProbe:
    """A program and the maps that it fills, by function, or with `by` by (function, pid or tid).

    calls: calls that began
    total, own, longest: nanoseconds of calls that returned (`own` only with `has_self`)
    histogram: calls by the bit length of their nanoseconds
    With `by`, the keys of `longest` and `histogram` have a third part: the CPU, and the bit length.
    """

    def __init__(self, *, by: str | None = None, has_self: bool = False) -> None:
        if by is not None and by not in BY:
            raise UsageError(f"invalid by={by!r}: expected {' or '.join(map(repr, BY))}")
        self.by = by
        self.has_self = has_self
        self.calls, self.total, self.own = (_counters(by) for _ in range(3))
        if not has_self:
            self.own = None
        key = (mp.u32, mp.u32, mp.u32)
        self.longest: Any = mp.Hash(key, mp.u64, MAX_KEYS) if by else mp.PerFunction(mp.u64)
        self.histogram: Any = mp.Hash(key, mp.u64, 4 * MAX_KEYS) if by else mp.Histogram(per_function=True)
        self.program = _by_task(self) if by else _by_function(self)


def _counters(by: str | None) -> Any:
    return mp.Hash((mp.u32, mp.u32), mp.u64, MAX_KEYS) if by else mp.PerFunction(mp.u64)


@mp.helper
def elapsed(began: int, now: int) -> int:
    """Nanoseconds since `began`; 0 if the clocks of two CPUs differ by so little that it would be negative."""
    return now - began if now > began else 0


@mp.helper
def bit_length(number: int) -> int:
    """The bit length of a number; 0 for 0."""
    bits = 0
    if number >> 32:
        number, bits = number >> 32, 32
    if number >> 16:
        number, bits = number >> 16, bits + 16
    if number >> 8:
        number, bits = number >> 8, bits + 8
    if number >> 4:
        number, bits = number >> 4, bits + 4
    if number >> 2:
        number, bits = number >> 2, bits + 2
    return bits + min(number, 2)


def _by_function(probe: LatencyProbe) -> Program:
    calls, total, own, longest, histogram = probe.calls, probe.total, probe.own, probe.longest, probe.histogram
    has_self = probe.has_self
    enter, leave, measure = _helpers(has_self)

    @mp.program(when="session")
    def latency(ctx: Any) -> None:
        if not ctx.is_return:
            calls[ctx.function] += 1
            ctx.session = enter(ctx)
            return
        now = ctx.time
        mark = ctx.session
        if not mark:
            return
        took = measure(mark, now)
        total[ctx.function] += took
        histogram.add(ctx.function, took)
        if took > longest[ctx.function]:
            longest[ctx.function] = took
        if has_self:
            own[ctx.function] += leave(ctx, mark, took)

    return latency


def _by_task(probe: LatencyProbe) -> Program:
    calls, total, own, longest, histogram = probe.calls, probe.total, probe.own, probe.longest, probe.histogram
    has_self = probe.has_self
    is_process = probe.by == "process"
    enter, leave, measure = _helpers(has_self)

    @mp.program(when="session")
    def latency(ctx: Any) -> None:
        who = ctx.pid if is_process else ctx.tid
        if not ctx.is_return:
            calls[ctx.function, who] += 1
            ctx.session = enter(ctx)
            return
        now = ctx.time
        mark = ctx.session
        if not mark:
            return
        took = measure(mark, now)
        total[ctx.function, who] += took
        histogram[ctx.function, who, bit_length(took)] += 1
        if took > longest[ctx.function, who, ctx.cpu]:
            longest[ctx.function, who, ctx.cpu] = took
        if has_self:
            own[ctx.function, who] += leave(ctx, mark, took)

    return latency


@mp.helper
def _now(ctx: Any) -> Any:
    return ctx.time


def _helpers(has_self: bool) -> tuple[Helper, Any, Helper]:
    """The helpers that make a session cookie, compute the self time (None without it), and the elapsed time."""
    if has_self:
        return self_time.enter, self_time.leave, self_time.elapsed
    return _now, None, elapsed

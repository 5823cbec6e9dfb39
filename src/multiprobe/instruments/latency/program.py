"""How long calls take: the program in our own language, in as many forms as there are questions.

Each call is timed by the session that it has of its own, so that recursion, preemption and calls on other CPUs can't
mix anything up. What isn't asked for costs nothing: it isn't in the program. Knows programs and their maps; must not
know what becomes of the numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.errors import UsageError
from multiprobe.instruments.latency import self_time

if TYPE_CHECKING:
    from typing import Any

BY = ("process", "thread")
MAX_KEYS = 65_536
"""Pairs of a function and a process (or thread) that there is room for."""


class Probe:
    """A program, and the maps that it fills: by function, or by (function, pid or tid) where `by` says so.

    calls: calls that began; total, own, longest: nanoseconds of those that ended (`own` only with `has_self`);
    histogram: calls by the bits that their nanoseconds take. With `by`, `longest` and `histogram` have a third part in
    their keys: the CPU, and the bits.
    """

    def __init__(self, *, by: str | None = None, has_self: bool = False) -> None:
        if by is not None and by not in BY:
            raise UsageError(f"by={by!r} means nothing", hint=f"use one of {', '.join(map(repr, BY))}")
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
def elapsed(began: Any, now: Any) -> Any:
    """Nanoseconds; 0 rather than less, should clocks of two CPUs differ by a little."""
    return now - began if now > began else 0


@mp.helper
def bit_length(number: Any) -> Any:
    """How many bits a number takes; 0 for 0."""
    place = 0
    if number >> 32:
        number, place = number >> 32, 32
    if number >> 16:
        number, place = number >> 16, place + 16
    if number >> 8:
        number, place = number >> 8, place + 8
    if number >> 4:
        number, place = number >> 4, place + 4
    if number >> 2:
        number, place = number >> 2, place + 2
    return place + min(number, 2)


def _by_function(probe: Probe) -> Any:
    calls, total, own, longest, histogram = probe.calls, probe.total, probe.own, probe.longest, probe.histogram
    has_self = probe.has_self
    enter, leave, measure = _helpers(has_self)

    @mp.program(when="session")  # type: ignore[untyped-decorator]
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


def _by_task(probe: Probe) -> Any:
    calls, total, own, longest, histogram = probe.calls, probe.total, probe.own, probe.longest, probe.histogram
    has_self = probe.has_self
    is_process = probe.by == "process"
    enter, leave, measure = _helpers(has_self)

    @mp.program(when="session")  # type: ignore[untyped-decorator]
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


def _helpers(has_self: bool) -> tuple[Any, Any, Any]:
    """What a call keeps when it begins, its self time when it ends (None if not wanted), how long it took."""
    if has_self:
        return self_time.enter, self_time.leave, self_time.elapsed
    return _now, None, elapsed

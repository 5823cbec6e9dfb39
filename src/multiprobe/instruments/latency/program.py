"""The BPF program that times calls, in four variants: per function or per task, with or without self time.

Each call is timed by its own session cookie, so recursion, preemption and calls on other CPUs are told apart. What is
not measured is not in the program, and costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import multiprobe as mp
from multiprobe.errors import UsageError
from multiprobe.instruments.keyed_rows import NO_ROW, WIDTH
from multiprobe.instruments.latency import self_time
from multiprobe.instruments.latency.task_table import TaskTable, make_find_row, make_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from multiprobe.compiler.program import Program

BY = ("process", "thread")
CALLS, TOTAL, LONGEST, OWN, BUCKETS = range(WIDTH, WIDTH + 5)
"""Places in the row of a function and a task."""
MAX_BITS = 59
"""Of nanoseconds: 18 years."""


class LatencyProbe:
    """A program and the `maps` that it fills, by function, or with `by` by (function, pid or tid).

    calls: calls that began
    total, own, longest: nanoseconds of calls that returned (`own` is `calls` without `has_self`)
    histogram: calls by the bit length of their nanoseconds
    With `by`, `maps` is a table of rows (`latency.task_table`), with these at CALLS, TOTAL, LONGEST, OWN and from
    BUCKETS on.
    """

    def __init__(self, *, by: str | None = None, has_self: bool = False) -> None:
        if by is not None and by not in BY:
            raise UsageError(f"invalid by={by!r}: expected {' or '.join(map(repr, BY))}")
        self.by = by
        self.has_self = has_self
        self.maps: FunctionMaps | TaskTable
        if by:
            self.maps = make_table(BUCKETS + MAX_BITS)
            self.program = _by_task(self.maps, has_self, is_process=by == "process")
        else:
            self.maps = _function_maps(has_self)
            self.program = _by_function(self.maps, has_self)


class FunctionMaps(NamedTuple):
    """The maps of a LatencyProbe by function."""

    calls: mp.PerFunction
    total: mp.PerFunction
    own: mp.PerFunction
    longest: mp.PerFunction
    histogram: mp.Histogram


def _function_maps(has_self: bool) -> FunctionMaps:
    calls, total, own, longest = (mp.PerFunction(mp.u64, shared=True) for _ in range(4))
    return FunctionMaps(calls, total, own if has_self else calls, longest, mp.Histogram(per_function=True))


@mp.helper
def elapsed(began: int, now: int) -> int:
    """Nanoseconds since `began`; 0 if the clocks of two CPUs differ by so little that it would be negative."""
    took = mp.i64(now - began)
    return took if took > 0 else 0


def _by_function(maps: FunctionMaps, has_self: bool) -> Program:
    calls, total, own, longest, histogram = maps
    enter, leave, measure = _helpers(has_self)

    @mp.program(when="session")
    def latency(ctx: mp.Context) -> None:
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
        longest[ctx.function] = max(longest[ctx.function], mp.u64(took))
        if has_self:
            own[ctx.function] += leave(ctx, mark, took)

    return latency


def _by_task(table: TaskTable, has_self: bool, *, is_process: bool) -> Program:
    rows, more = table
    find_row = make_find_row(rows)
    enter, leave, measure = _helpers(has_self)

    @mp.program(when="session")
    def latency(ctx: mp.Context) -> None:
        who = ctx.ns_pid if is_process else ctx.ns_tid
        if not ctx.is_return:
            row = find_row(ctx.function, who)
            if row == NO_ROW:
                more[ctx.function, who, CALLS] += 1
            else:
                rows[row, CALLS] += 1
            ctx.session = enter(ctx)
            return
        now = ctx.time
        mark = ctx.session
        if not mark:
            return
        row = find_row(ctx.function, who)
        took = measure(mark, now)
        if row == NO_ROW:
            more[ctx.function, who, TOTAL] += took
            more[ctx.function, who, BUCKETS + took.bit_length()] += 1
            more[ctx.function, who, LONGEST] = max(more[ctx.function, who, LONGEST], mp.u64(took))
            if has_self:
                more[ctx.function, who, OWN] += leave(ctx, mark, took)
            return
        rows[row, TOTAL] += took
        rows[row, BUCKETS + took.bit_length()] += 1
        rows[row, LONGEST] = max(rows[row, LONGEST], mp.u64(took))
        if has_self:
            rows[row, OWN] += leave(ctx, mark, took)

    return latency


@mp.helper
def _now(ctx: mp.Context) -> int:
    return ctx.time


@mp.helper
def _no_own(ctx: mp.Context, mark: int, took: int) -> int:
    return 0


def _helpers(
    has_self: bool,
) -> tuple[Callable[[mp.Context], int], Callable[[mp.Context, int, int], int], Callable[[int, int], int]]:
    """The helpers that make a session cookie, compute the self time, and the elapsed time."""
    if has_self:
        return self_time.enter, self_time.leave, self_time.elapsed
    return _now, _no_own, elapsed

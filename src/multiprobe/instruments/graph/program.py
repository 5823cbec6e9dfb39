"""The BPF program that records every call, with its times, thread, arguments and returned value.

A call is one record whose key is unique (thread, time of entry, function) and whose value is the time of its return. So
records need no order, and recursion or migration to another CPU don't matter. The room is fixed: when it is full, later
calls are left out and counted, and all earlier ones are complete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import multiprobe as mp

if TYPE_CHECKING:
    from multiprobe.compiler.program import Program


UNDER_WAY = 1
"""The time of return of a call that has not returned."""
IDLE = 1 << 63
"""Marks the keys of idle tasks, which all have the ids 0: their key is this bit and the CPU."""
MAX_ARGUMENTS = 6
RETURNED = MAX_ARGUMENTS
"""The position of the returned value behind the arguments."""
_MAX_THREADS = 65_536


class GraphProbe:
    """A program and its maps.

    calls: (thread, time of entry, function) → time of return, or UNDER_WAY; thread: see `task_ids`, or IDLE | cpu
    values: (…, n) → argument n, or at RETURNED the returned value; only with `n_arguments` ≥ 0
    threads: (thread, name) → when the thread was first seen with that name
    """

    def __init__(self, *, max_events: int, n_arguments: int = -1) -> None:
        key = (mp.u64, mp.u64, mp.u32)
        self.calls = mp.Hash(key, mp.u64, max_events)
        self.values = mp.Hash((*key, mp.u32), mp.u64, max_events * max(1, n_arguments + 1))
        self.threads = mp.Hash((mp.u64, mp.string(16)), mp.u64, _MAX_THREADS)
        self.n_arguments = n_arguments
        self.program = _graph(self)


@mp.helper
def _thread(ctx: mp.Context) -> int:
    return mp.u64(ctx.ns_pid << 32 | mp.u32(ctx.ns_tid)) if ctx.tid else IDLE | ctx.cpu


def _graph(probe: GraphProbe) -> Program:
    calls, values, threads, n_arguments = probe.calls, probe.values, probe.threads, probe.n_arguments

    @mp.program(when="session")
    def graph(ctx: mp.Context) -> None:
        thread = _thread(ctx)
        if ctx.is_return:
            begin = ctx.session
            now = ctx.time
            # The session of a call whose entry was missed, or came before the program, holds an arbitrary value.
            if calls[thread, begin, ctx.function] == UNDER_WAY:
                calls[thread, begin, ctx.function] += now - UNDER_WAY
                if n_arguments >= 0:
                    values[thread, begin, ctx.function, RETURNED] = ctx.ret
            return
        begin = ctx.time
        while (thread, begin, ctx.function) in calls:  # a clock too coarse for a function that calls itself
            begin += 1
        ctx.session = begin
        calls[thread, begin, ctx.function] = UNDER_WAY
        if (thread, ctx.comm) not in threads:
            threads[thread, ctx.comm] = begin
        if n_arguments > 0:
            values[thread, begin, ctx.function, 0] = ctx.arg(0)
        if n_arguments > 1:
            values[thread, begin, ctx.function, 1] = ctx.arg(1)
        if n_arguments > 2:
            values[thread, begin, ctx.function, 2] = ctx.arg(2)
        if n_arguments > 3:
            values[thread, begin, ctx.function, 3] = ctx.arg(3)
        if n_arguments > 4:
            values[thread, begin, ctx.function, 4] = ctx.arg(4)
        if n_arguments > 5:
            values[thread, begin, ctx.function, 5] = ctx.arg(5)

    return graph

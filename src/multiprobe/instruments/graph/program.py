"""The BPF program that records every call, with its times, thread, arguments and returned value.

A call is one record: its entry takes the next number, which the session carries to its return. So records need no key,
and recursion or migration to another CPU don't matter. The room is fixed: when it is full, later calls are left out and
counted, and all earlier ones are complete.

The clock is read last at the entry and first at the return: what recording costs is not in the call's own duration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.errors import UsageError
from multiprobe.maps.specs import MAX_VALUE_BYTES, RowArray

if TYPE_CHECKING:
    from multiprobe.compiler.program import Program


BEGIN, END, THREAD, FUNCTION, CALL_WIDTH = range(5)
"""Places in the row of a call. The time of return of a call that has not returned is 0."""
NAME_WIDTH = 2
IDLE = 1 << 63
"""Marks the threads that are idle tasks, which all have the ids 0: this bit and the CPU."""
MAX_ARGUMENTS = 6


class GraphProbe:
    """A program and its maps, which have a row for each call.

    n_calls: how many calls there were, with those for which there was no room
    calls: the time of entry (0: not written yet), the time of return, the thread (see `task_ids`, or IDLE | cpu), the
        function
    names: the thread's name at the entry, 16 bytes
    values: the arguments, and the returned value; only with `n_arguments` ≥ 0

    `has_types`: the kernel has BTF, by which a task's name is found faster. Raises UsageError if there is no room for
    so many calls.
    """

    def __init__(self, *, max_events: int, n_arguments: int = -1, has_types: bool = False) -> None:
        width = max(1, n_arguments + 1)
        most = MAX_VALUE_BYTES // (8 * max(width, CALL_WIDTH))
        if max_events > most:
            of_arguments = f" with {n_arguments} arguments" if width > CALL_WIDTH else ""
            raise UsageError(f"{max_events:,} calls{of_arguments} can't be recorded: at most {most:,}")
        self.n_calls = RowArray(mp.u64, 1, width=1)
        self.calls = RowArray(mp.u64, max_events, width=CALL_WIDTH)
        self.names = RowArray(mp.u64, max_events, width=NAME_WIDTH)
        self.values = RowArray(mp.u64, max_events if n_arguments >= 0 else 1, width=width)
        self.max_events = max_events
        self.n_arguments = n_arguments
        self.has_types = has_types
        self.program = _graph(self)


@mp.helper
def _thread(ctx: mp.Context) -> int:
    return mp.u64(ctx.ns_pid << 32 | mp.u32(ctx.ns_tid)) if ctx.tid else IDLE | ctx.cpu


def _graph(probe: GraphProbe) -> Program:
    n_calls, calls, names, values = probe.n_calls, probe.calls, probe.names, probe.values
    max_events, n_arguments, has_types = probe.max_events, probe.n_arguments, probe.has_types

    @mp.program(when="session")
    def graph(ctx: mp.Context) -> None:
        if ctx.is_return:
            now = ctx.time
            mark = ctx.session
            if not mark:
                return
            ended = mark - 1
            # Not whether the thread is the same: its ids change when it is not a process's first one and calls execve.
            if not calls[ended, END]:
                if n_arguments >= 0:
                    values[ended, n_arguments] = ctx.ret
                calls[ended, END] = now
            return
        call = n_calls.fetch_add((0, 0), 1)
        if call >= max_events:
            return
        calls[call, THREAD] = _thread(ctx)
        calls[call, FUNCTION] = ctx.function
        if has_types:
            names[call, 0] = ctx.task.comm
        else:
            names[call, 0] = ctx.comm
        if n_arguments > 0:
            values[call, 0] = ctx.arg(0)
        if n_arguments > 1:
            values[call, 1] = ctx.arg(1)
        if n_arguments > 2:
            values[call, 2] = ctx.arg(2)
        if n_arguments > 3:
            values[call, 3] = ctx.arg(3)
        if n_arguments > 4:
            values[call, 4] = ctx.arg(4)
        if n_arguments > 5:
            values[call, 5] = ctx.arg(5)
        ctx.session = call + 1
        calls[call, BEGIN] = ctx.time

    return graph

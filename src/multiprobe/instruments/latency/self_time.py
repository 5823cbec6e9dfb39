"""Helpers for session programs that measure self time: the time of a call without the traced calls it made.

Every task has a state: the sum of the self times of its returned calls, and below it, in the low bits, how many calls
are in progress. The state is 0 outside of traced calls. A call notes the sum at its entry, unless it is an outermost
one, for which it is 0; what was added when it returns is the time spent below it. Interrupts nest like calls: what runs
in one is attributed to the interrupted call. A task is followed across CPUs; the idle tasks, which all have tid 0, are
told apart by CPU.

State and sums are in the task's row (`instruments.task_rows`), which only the task itself changes.

The session cookie holds the depth in its low bits, below the time. A call whose return was missed therefore does no
lasting harm: the next call that returns resets the depth. After missed returns of outermost calls the task starts anew
when it has reached its limit: no stack of the kernel holds so many calls. The calls in progress then are lost.
"""

from __future__ import annotations

import multiprobe as mp
from multiprobe.instruments.task_rows import (
    NO_ROW,
    STATE,
    WIDTH,
    make_find_row,
    make_rows,
    make_take_row,
    number_of_task,
)

DEPTH_BITS = 7
DEEPEST = (1 << DEPTH_BITS) - 1
"""No call has this depth: in a session cookie it says that the task has no row."""
NOTED = WIDTH - 1
"""Where the sums are that calls noted, + 1, by depth, from 1 on; 0 where none is in progress."""

rows = make_rows(DEEPEST)
lost = mp.Array(mp.u64, 1)

take_row = make_take_row(rows, busy=DEEPEST)
find_row = make_find_row(rows)


@mp.helper
def enter(ctx: mp.Context) -> int:
    """The session cookie of a call: its time and its depth."""
    row = take_row(number_of_task(ctx))
    if row == NO_ROW:
        return ctx.time << DEPTH_BITS | DEEPEST
    state = rows[row, STATE]
    depth = state & DEEPEST
    if depth == DEEPEST:
        depth = 0
    if depth:
        rows[row, NOTED + depth] = (state >> DEPTH_BITS) + 1
        rows[row, STATE] = state + 1
    else:
        rows[row, STATE] = 1
    return ctx.time << DEPTH_BITS | depth


@mp.helper
def elapsed(mark: int, now: int) -> int:
    """Nanoseconds since `enter` returned `mark`."""
    took = mp.i64((now << DEPTH_BITS) - (mark & ~DEEPEST))
    return took >> DEPTH_BITS if took > 0 else 0


@mp.helper
def leave(ctx: mp.Context, mark: int, took: int) -> int:
    """The self time of a call that took `took` ns and returns; 0 if it is unknown, which is counted in `lost`."""
    row = find_row(number_of_task(ctx))
    depth = mark & DEEPEST
    if row == NO_ROW or depth == DEEPEST:
        lost[0] += 1
        return 0
    state = rows[row, STATE]
    done = state >> DEPTH_BITS
    before = 1
    if depth:
        before = rows[row, NOTED + depth]
        rows[row, NOTED + depth] = 0
    if not state or not before or before > done + 1:  # it lost its row, or has started anew during the call
        lost[0] += 1
        return 0
    own = took - (done + 1 - before)
    rows[row, STATE] = (done + own << DEPTH_BITS | depth) if depth else 0
    return own

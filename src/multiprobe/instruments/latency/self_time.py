"""Helpers for session programs that measure self time: the time of a call without the traced calls it made.

Every task has a state: the sum of the self times of its returned calls, and below it, in the low bits, how many calls
are in progress. The state is 0 outside of traced calls. A call notes the sum at its entry, unless it is an outermost
one, for which it is 0; what was added when it returns is the time spent below it. Interrupts nest like calls: what runs
in one is attributed to the interrupted call. A task is followed across CPUs; the idle tasks, which all have tid 0, are
told apart by CPU.

A task's entries in the tables stay when its calls have returned, and serve its next calls: inserting and deleting an
entry costs several times what looking it up does. Those of ended tasks are the least recently used ones, which make
room.

The session cookie holds the depth in its low bits, below the time. A call whose return was missed therefore does no
lasting harm: the next call that returns resets the depth. After missed returns of outermost calls the task starts anew
when it has reached its limit: no stack of the kernel holds so many calls. The calls in progress then are lost.
"""

from __future__ import annotations

import multiprobe as mp

DEPTH_BITS = 8
DEEPEST = (1 << DEPTH_BITS) - 1
MAX_CALLS = 65_536
"""Tasks, and nested calls of tasks (by depth), that are followed; beyond that, the least recently used are lost."""

sums = mp.LruHash(mp.u64, mp.u64, MAX_CALLS)
noted = mp.LruHash(mp.u64, mp.u64, MAX_CALLS)
lost = mp.Array(mp.u64, 1)


@mp.helper
def task_of(ctx: mp.Context) -> int:
    """A number that identifies the current task."""
    return ctx.tid or 1 << 32 | ctx.cpu


@mp.helper
def enter(ctx: mp.Context) -> int:
    """The session cookie of a call: its time and its depth."""
    task = task_of(ctx)
    state = sums[task]
    depth = state & DEEPEST
    if depth == DEEPEST:
        depth = 0
    if depth:
        key = task << DEPTH_BITS | depth
        noted[key] += (state >> DEPTH_BITS) + 1 - noted[key]
    sums[task] += 1 if depth else 1 - state
    return ctx.time << DEPTH_BITS | depth


@mp.helper
def elapsed(mark: int, now: int) -> int:
    """Nanoseconds since `enter` returned `mark`."""
    took = mp.i64((now << DEPTH_BITS) - (mark & ~DEEPEST))
    return took >> DEPTH_BITS if took > 0 else 0


@mp.helper
def leave(ctx: mp.Context, mark: int, took: int) -> int:
    """The self time of a call that took `took` ns and returns; 0 if it is unknown, which is counted in `lost`."""
    task = task_of(ctx)
    depth = mark & DEEPEST
    state = sums[task]
    done = state >> DEPTH_BITS
    before = 1
    if depth:
        key = task << DEPTH_BITS | depth
        before = noted[key]
        noted[key] -= before
    if not state or not before or before > done + 1:  # evicted, or the task has started anew during the call
        lost[0] += 1
        return 0
    own = took - (done + 1 - before)
    sums[task] += ((done + own << DEPTH_BITS | depth) if depth else 0) - state
    return own

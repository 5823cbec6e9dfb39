"""Helpers for session programs that measure self time: the time of a call without the traced calls it made.

Every task has a sum of the self times of its returned calls. A call notes the sum at its entry; what was added when it
returns is the time spent below it. Interrupts nest like calls: what runs in one is attributed to the interrupted call.
A task is followed across CPUs; the idle tasks, which all have tid 0, are told apart by CPU.

The session cookie holds the depth in its low bits, below the time. A call whose return was missed therefore does no
lasting harm: the next call that returns resets the depth. After missed returns of outermost calls the depth starts from
0 again when it has reached its limit: no stack of the kernel holds so many calls. The calls in progress then are lost.
"""

from __future__ import annotations

import multiprobe as mp

DEPTH_BITS = 8
DEEPEST = (1 << DEPTH_BITS) - 1
MAX_CALLS = 65_536
"""Calls in progress that are followed; beyond that, the least recently used ones are lost."""

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
        state -= DEEPEST
        depth = 0
    noted[task << DEPTH_BITS | depth] = (state >> DEPTH_BITS) + 1
    sums[task] = state + 1
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
    key = task << DEPTH_BITS | depth
    before = noted[key]
    state = sums[task]
    if not before or not state:  # evicted, or the depth has started from 0 again during the call
        lost[0] += 1
        del noted[key]
        return 0
    del noted[key]
    done = state >> DEPTH_BITS
    own = took - (done + 1 - before)
    if depth:
        sums[task] = done + own << DEPTH_BITS | depth
    else:
        del sums[task]
    return own

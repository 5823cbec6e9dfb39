"""Self time: a call's time without that of the traced calls it made. Helpers for programs that run as sessions.

Every task has a sum of the self times of all its ended calls. A call notes the sum when it begins; what was added when
it ends is the time of everything below it. Interrupts nest like calls: what runs in one counts as made by the call it
interrupted. A task is followed wherever it runs; the idle tasks, which share tid 0, are told apart by CPU.

The depth rides in the low bits of the session beside the time, so that a call whose end was missed upsets nothing: the
next one that ends sets the depth right again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import multiprobe as mp

if TYPE_CHECKING:
    from typing import Any

DEPTH_BITS = 8
DEEPEST = (1 << DEPTH_BITS) - 1
MAX_CALLS = 65_536
"""Calls under way at once that are followed; beyond that the ones that were idle longest are lost."""

sums = mp.LruHash(mp.u64, mp.u64, MAX_CALLS)
noted = mp.LruHash(mp.u64, mp.u64, MAX_CALLS)
lost = mp.Array(mp.u64, 1)


@mp.helper
def task_of(ctx: Any) -> Any:
    """A number that no other task has now."""
    return ctx.tid or 1 << 32 | ctx.cpu


@mp.helper
def enter(ctx: Any) -> Any:
    """What a call keeps in its session: when it began, and its depth; 0 if it is too deep to be followed."""
    task = task_of(ctx)
    state = sums[task]
    depth = state & DEEPEST
    if depth == DEEPEST:
        lost[0] += 1
        return 0
    noted[task << DEPTH_BITS | depth] = (state >> DEPTH_BITS) + 1
    sums[task] = state + 1
    return ctx.time << DEPTH_BITS | depth


@mp.helper
def elapsed(mark: Any, now: Any) -> Any:
    """Nanoseconds since `enter` made `mark`."""
    took = mp.i64((now << DEPTH_BITS) - (mark & ~DEEPEST))
    return took >> DEPTH_BITS if took > 0 else 0


@mp.helper
def leave(ctx: Any, mark: Any, took: Any) -> Any:
    """A call that `took` so long ends: its self time. 0 if it isn't known, which is counted as lost."""
    task = task_of(ctx)
    depth = mark & DEEPEST
    place = task << DEPTH_BITS | depth
    before = noted[place]
    if not before:
        lost[0] += 1
        return 0
    del noted[place]  # type: ignore[attr-defined]
    done = sums[task] >> DEPTH_BITS
    own = took - (done + 1 - before)
    if depth:
        sums[task] = done + own << DEPTH_BITS | depth
    else:
        del sums[task]  # type: ignore[attr-defined]
    return own

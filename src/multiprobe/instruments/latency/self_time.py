"""Helpers for session programs that measure self time: the time of a call without the traced calls it made.

Every task has a state: the sum of the self times of its returned calls, and below it, in the low bits, how many calls
are in progress. The state is 0 outside of traced calls. A call notes the sum at its entry, unless it is an outermost
one, for which it is 0; what was added when it returns is the time spent below it. Interrupts nest like calls: what runs
in one is attributed to the interrupted call. A task is followed across CPUs; the idle tasks, which all have tid 0, are
told apart by CPU.

The state is in task storage if the kernel can make room for it in any function, else in a table, which costs twice as
much (`has_storage`). A task's entries in tables stay when its calls have returned, and serve its next calls: inserting
and deleting an entry costs several times what looking it up does. Those of ended tasks are the least recently used
ones, which make room.

The session cookie holds the depth in its low bits, below the time. A call whose return was missed therefore does no
lasting harm: the next call that returns resets the depth. After missed returns of outermost calls the task starts anew
when it has reached its limit: no stack of the kernel holds so many calls. The calls in progress then are lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import multiprobe as mp
from multiprobe.errors import MultiprobeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from multiprobe.functions.kernel import Kernel

DEPTH_BITS = 8
DEEPEST = (1 << DEPTH_BITS) - 1
MAX_CALLS = 65_536
"""Tasks, and nested calls of tasks (by depth), that are followed; beyond that, the least recently used are lost."""

stored = mp.PerTask(mp.u64)
sums = mp.LruHash(mp.u64, mp.u64, MAX_CALLS)
"""The states are in one or the other."""
noted = mp.LruHash(mp.u64, mp.u64, MAX_CALLS)
lost = mp.Array(mp.u64, 1)


@mp.helper
def task_of(ctx: mp.Context) -> int:
    """A number that identifies the current task."""
    return ctx.tid or 1 << 32 | ctx.cpu


@mp.helper
def elapsed(mark: int, now: int) -> int:
    """Nanoseconds since `enter` returned `mark`."""
    took = mp.i64((now << DEPTH_BITS) - (mark & ~DEEPEST))
    return took >> DEPTH_BITS if took > 0 else 0


class Helpers(NamedTuple):
    """`enter(ctx)` makes the session cookie of a call; `leave(ctx, mark, took)` is its self time when it returns."""

    enter: Callable[[mp.Context], int]
    leave: Callable[[mp.Context, int, int], int]


def is_storage_safe(kernel: Kernel) -> bool:
    """Whether the kernel makes room for a task's value in any function, also in those of its own allocator."""
    # Linux kernel commit 08a7ce384e33 ("bpf: Use bpf_mem_cache_alloc/free in bpf_local_storage_elem") (in v6.4):
    # before, it asked the allocator, also where functions of that one were probed with its locks held. Kernels whose
    # buckets have a lock that can fail (7.x) always allocate without taking any.
    try:
        members = {member.name for member in mp.struct("bpf_local_storage_map", kernel=kernel).members}
        locks = {member.type for member in mp.struct("bpf_local_storage_map_bucket", kernel=kernel).members}
    except MultiprobeError:
        return False
    return not members.isdisjoint({"bpf_ma", "use_kmalloc_nolock"}) or "rqspinlock_t" in locks


def make_helpers(*, has_storage: bool) -> Helpers:
    """The helpers for a program, by where it keeps the states of tasks."""
    state_of, add_to_state = (_stored, _add_to_stored) if has_storage else (_listed, _add_to_listed)
    where = _nowhere if has_storage else task_of

    @mp.helper
    def enter(ctx: mp.Context) -> int:
        entry = where(ctx)
        state = state_of(ctx, entry)
        depth = state & DEEPEST
        if depth == DEEPEST:
            depth = 0
        if depth:
            key = task_of(ctx) << DEPTH_BITS | depth
            noted[key] += (state >> DEPTH_BITS) + 1 - noted[key]
        add_to_state(ctx, entry, 1 if depth else 1 - state)
        return ctx.time << DEPTH_BITS | depth

    @mp.helper
    def leave(ctx: mp.Context, mark: int, took: int) -> int:
        entry = where(ctx)
        depth = mark & DEEPEST
        state = state_of(ctx, entry)
        done = state >> DEPTH_BITS
        before = 1
        if depth:
            key = task_of(ctx) << DEPTH_BITS | depth
            before = noted[key]
            noted[key] -= before
        if not state or not before or before > done + 1:  # evicted, or the task has started anew during the call
            lost[0] += 1
            return 0
        own = took - (done + 1 - before)
        add_to_state(ctx, entry, ((done + own << DEPTH_BITS | depth) if depth else 0) - state)
        return own

    return Helpers(enter, leave)


@mp.helper
def _nowhere(ctx: mp.Context) -> int:
    return 0


@mp.helper
def _stored(ctx: mp.Context, entry: int) -> int:
    return stored[ctx.task]


@mp.helper
def _add_to_stored(ctx: mp.Context, entry: int, difference: int) -> None:
    stored[ctx.task] += difference


@mp.helper
def _listed(ctx: mp.Context, entry: int) -> int:
    return sums[entry]


@mp.helper
def _add_to_listed(ctx: mp.Context, entry: int, difference: int) -> None:
    sums[entry] += difference

"""The BPF program that counts stacks, in two variants: calls only, or calls and the time spent in them.

Stacks are taken at the entry of a function, by the timing variant, too: at the return many kernels can't unwind the
stack, which then leads through the probe's own return path (Linux kernel commit 20a0bc10272f ("x86/fgraph: Fix
return_to_handler regs.rsp value"), and 8bc11700e0d2 for what builds on it).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.errors import UsageError

if TYPE_CHECKING:
    from multiprobe.compiler.program import Program


MAX_STACKS = 16_384
_ID_BITS = 20
NO_STACK = (1 << _ID_BITS) - 1
"""The 20-bit id of any stack that could not be taken."""
NOT_TAKEN = 1 << 63
"""Ids from here on are negative errnos."""
NOT_ASKED = -1 & (1 << 64) - 1
"""The id of a stack that is not recorded."""
OF_PROGRAM = 1
"""The cookie of a function of a program or library."""


def _room(n: int) -> int:
    """Entries of a StackTraces for `n` kernel stacks and as many user stacks.

    There are at least four places for each of `n`, as of two stacks for one place the second is lost; and room for
    stacks in half of them: more would only take memory.
    """
    return min(1 << 20, (1 << (4 * n - 1).bit_length() - 1) + 1)


class StacksProbe:
    """A program and its maps.

    hits, total: (function, kernel stack, user stack, pid) → calls, and ns spent in them (only with `is_timed`); the pid
    is 0 and the user stack NOT_ASKED unless `has_user`. Calls of functions with the cookie OF_PROGRAM have the
    process's stack only, for which `has_programs` is needed: their kernel stack is NOT_ASKED.
    """

    def __init__(
        self, *, has_user: bool, is_timed: bool, has_programs: bool = False, max_stacks: int = MAX_STACKS
    ) -> None:
        if not 0 < max_stacks < NO_STACK:
            raise UsageError(f"invalid max_stacks={max_stacks}: expected 1 to {NO_STACK - 1:,}")
        key = (mp.u32, mp.u64, mp.u64, mp.i32)
        self.stacks = mp.StackTraces(max_entries=_room(max_stacks))
        self.hits = mp.Hash(key, mp.u64, max_stacks)
        self.total = mp.Hash(key, mp.u64, max_stacks)
        self.is_timed = is_timed
        self.has_user = has_user or has_programs
        self.asks_user, self.has_programs = has_user, has_programs
        self.program = _timed(self) if is_timed else _counted(self)


@mp.helper
def _is_program(ctx: mp.Context) -> bool:
    """Whether the function is of a program."""
    return ctx.cookie == OF_PROGRAM


@mp.helper
def _never(ctx: mp.Context) -> bool:
    """Replaces `_is_program` where none is."""
    return False


def _counted(probe: StacksProbe) -> Program:
    stacks, hits, has_user = probe.stacks, probe.hits, probe.asks_user
    is_program = _is_program if probe.has_programs else _never

    @mp.program
    def count_stacks(ctx: mp.Context) -> None:
        if is_program(ctx):
            hits[ctx.function, NOT_ASKED, mp.u64(stacks.id(ctx, user=True)), ctx.ns_pid] += 1
        elif has_user:
            hits[ctx.function, mp.u64(stacks.id(ctx)), mp.u64(stacks.id(ctx, user=True)), ctx.ns_pid] += 1
        else:
            hits[ctx.function, mp.u64(stacks.id(ctx)), NOT_ASKED, 0] += 1

    return count_stacks


def _timed(probe: StacksProbe) -> Program:
    stacks, hits, total = probe.stacks, probe.hits, probe.total
    has_user, is_program = probe.asks_user, _is_program if probe.has_programs else _never
    first = mp.Array(mp.u64, 1)

    @mp.program(when="session")
    def time_stacks(ctx: mp.Context) -> None:
        if not ctx.is_return:
            stack = stacks.id(ctx, user=True) if is_program(ctx) else stacks.id(ctx)
            now = ctx.time
            if not first[0]:
                first[0] = now
            ctx.session = (now << _ID_BITS) | (NO_STACK if stack < 0 else mp.u64(stack))
            return
        mark = ctx.session
        # 44 bits of time: calls of up to 4.8 hours
        took = ((ctx.time << _ID_BITS) - (mark & ~NO_STACK)) >> _ID_BITS
        if not mark or took > ctx.time - first[0]:
            return  # its entry came before the program: the session holds an arbitrary value
        taken = mark & NO_STACK
        if is_program(ctx):
            hits[ctx.function, NOT_ASKED, taken, ctx.ns_pid] += 1
            total[ctx.function, NOT_ASKED, taken, ctx.ns_pid] += took
            return
        # The user stack is the same at the return.
        user = mp.u64(stacks.id(ctx, user=True)) if has_user else NOT_ASKED
        pid = ctx.ns_pid if has_user else 0
        hits[ctx.function, taken, user, pid] += 1
        total[ctx.function, taken, user, pid] += took

    return time_stacks

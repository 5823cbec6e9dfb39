"""The BPF program that follows errors from the call that fails first to the call that handles or returns them.

Every task has a stack of its traced calls (`errors.frames`). A call that returns an error fails first, unless a call
that it made has just failed: then the same failure propagates. It propagates with another error only if no other call
succeeded in between. It ends in a call that does not fail, or with the outermost call. Only beginnings and ends are
sent.

Entries of tasks and calls stay in the tables and serve the next calls: inserting and deleting them costs several times
what looking them up and changing them does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import multiprobe as mp
from multiprobe.instruments.errors.failures import NULL, OF_PROGRAM
from multiprobe.instruments.errors.frames import (
    MAX_CALLS,
    PROGRAMS,
    TAIL_CALL,
    end_caller,
    frames,
    function_of,
    make_frame,
    top,
)
from multiprobe.instruments.latency.self_time import task_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from multiprobe.compiler.program import Program

NEVER, INT, LONG, POINTER = 0, 1, 2, 3
"""A function's cookie, with PROGRAMS or without: it returns no errors, an int, a long, or a pointer."""
KIND = 3
LONGEST_PATH = 16
MAX_ARGUMENTS = 6
DEEPEST = 255
WATCHED = 56
"""Failures below calls up to this depth are followed; of deeper ones only the beginning is sent."""
FOLLOWED = 1 << 16

MAX_ERRNO = NULL - 1


class Begun(mp.Event):
    """A call failed first. `frames`: index + 1 of its function, of its caller, …; `depth`: the number of callers."""

    identity: mp.u64
    ret: mp.i64
    pid: mp.i32
    tid: mp.i32
    error: mp.u32
    depth: mp.u32
    frames: Annotated[tuple[int, ...], mp.array_of(mp.u32, LONGEST_PATH)]
    arguments: Annotated[tuple[int, ...], mp.array_of(mp.u64, MAX_ARGUMENTS)]
    name: Annotated[str, mp.string(16)]


class Ended(mp.Event):
    """The failure `identity` ended in the function with index `frame` − 1, which returned `error` (0: handled)."""

    identity: mp.u64
    frame: mp.u32
    error: mp.u32


begun = mp.RingBuffer(Begun)
ended = mp.RingBuffer(Ended, size=1 << 20)
states = mp.LruHash(mp.u64, mp.u64, MAX_CALLS)
"""By task: the depth of its stack (8 bits), and above, a bit for each call on it that made a failed call."""
arguments = mp.LruHash(mp.u64, mp.u64, 2 * MAX_CALLS)
opened = mp.LruHash(mp.u64, mp.u64, MAX_CALLS)
"""By call (task and depth): the error of the failed call below it, with FOLLOWED if another call succeeded since."""
identities = mp.LruHash(mp.u64, mp.u64, MAX_CALLS)
"""By call: the identity of the failure that this error belongs to."""
lost = mp.Array(mp.u64, 1)


@mp.helper
def error_of(cookie: int, ret: int) -> int:
    """The errno that a call returned, NULL for a null pointer, 0 for no error; what a program returned is above
    OF_PROGRAM.
    """
    kind = cookie & KIND
    if kind == POINTER and ret == 0:
        return NULL
    number = mp.i32(ret) if kind == INT else ret
    found = -number if kind and -MAX_ERRNO <= number < 0 else 0
    return found + OF_PROGRAM if found and cookie & PROGRAMS else found


@mp.helper
def caller(task: int, depth: int, up: int) -> int:
    """Index + 1 of the function `up` levels up the stack; 0 if there is none, or if it was evicted."""
    return function_of(frames[task << 8 | depth - up]) if depth >= up else 0


def make_program(*, n_arguments: int = 0, has_types: bool = True, has_programs: bool = False) -> Program:
    """The program; it records `n_arguments` (up to 6) of every call. `has_types`: the kernel has BTF."""
    keep, tell = _keeper(n_arguments), _teller(n_arguments)
    frame_of = make_frame(has_types=has_types, has_programs=has_programs)

    @mp.program(when="session")
    def errors(ctx: mp.Context) -> None:
        task = task_of(ctx)
        state = states[task]
        if not ctx.is_return:
            frame = frame_of(ctx)
            left = top(task, state & DEEPEST, frame)
            depth = left & DEEPEST
            if depth == DEEPEST:
                lost[0] += 1
                return
            call = task << 8 | depth
            frames[call] += frame - frames[call]
            keep(ctx, call)
            states[task] += (state & (1 << depth + 8) - 256 | depth) + 1 - state
            ctx.session = left + 1
            return
        mark = ctx.session
        if not mark:
            return
        depth = (mark & DEEPEST) - 1
        call = task << 8 | depth
        if mark & TAIL_CALL:
            end_caller(call)
        error = error_of(ctx.cookie, ctx.ret)
        below = state >> 8  # a bit for each call with a failure below it
        has_failed = below >> depth & 1
        identity = identities[call] if has_failed else 0
        if error:
            if not has_failed or (opened[call] & FOLLOWED and opened[call] != error | FOLLOWED):
                if has_failed:
                    ended.send(identity=identity, frame=ctx.function + 1, error=0)
                identity = ctx.time << 8 | ctx.cpu & 255
                tell(ctx, task, depth, error, identity)
            elif not depth:
                ended.send(identity=identity, frame=ctx.function + 1, error=error)
        elif has_failed:
            ended.send(identity=identity, frame=ctx.function + 1, error=0)
        below &= (1 << depth) - 1
        if not depth:
            states[task] -= state
            return
        above = call - 1
        if error and depth <= WATCHED:
            if below >> depth - 1 & 1:
                ended.send(identity=identities[above], frame=function_of(frames[above]), error=0)
            opened[above] += error - opened[above]
            identities[above] += identity - identities[above]
            below |= 1 << depth - 1
        elif ctx.cookie & KIND and below >> depth - 1 & 1:
            opened[above] |= FOLLOWED
        states[task] += (below << 8 | depth) - state

    return errors


def _keeper(n_arguments: int) -> Callable[[mp.Context, int], None]:
    """The helper that records a call's arguments."""
    has_0, has_1, has_2, has_3, has_4, has_5 = (n < n_arguments for n in range(MAX_ARGUMENTS))
    kept = arguments if n_arguments else frames  # an unused map isn't created

    @mp.helper
    def keep(ctx: mp.Context, call: int) -> None:
        if has_0:
            kept[call << 3 | 0] += ctx.arg(0) - kept[call << 3 | 0]
        if has_1:
            kept[call << 3 | 1] += ctx.arg(1) - kept[call << 3 | 1]
        if has_2:
            kept[call << 3 | 2] += ctx.arg(2) - kept[call << 3 | 2]
        if has_3:
            kept[call << 3 | 3] += ctx.arg(3) - kept[call << 3 | 3]
        if has_4:
            kept[call << 3 | 4] += ctx.arg(4) - kept[call << 3 | 4]
        if has_5:
            kept[call << 3 | 5] += ctx.arg(5) - kept[call << 3 | 5]

    return keep


@mp.helper
def argument(call: int, n: int) -> int:
    """An argument that was recorded when its call began."""
    return arguments[call << 3 | n]


@mp.helper
def nothing(call: int, n: int) -> int:
    """Replaces `argument` when none are recorded."""
    return 0


def _teller(n_arguments: int) -> Callable[[mp.Context, int, int, int, int], None]:
    """The helper that sends the beginning of a failure."""
    kept = argument if n_arguments else nothing

    @mp.helper
    def tell(ctx: mp.Context, task: int, depth: int, error: int, identity: int) -> None:
        call = task << 8 | depth
        begun.send(
            identity=identity,
            ret=ctx.ret,
            pid=ctx.ns_pid,
            tid=ctx.ns_tid,
            error=error,
            depth=depth,
            frames=(
                ctx.function + 1,
                caller(task, depth, 1),
                caller(task, depth, 2),
                caller(task, depth, 3),
                caller(task, depth, 4),
                caller(task, depth, 5),
                caller(task, depth, 6),
                caller(task, depth, 7),
                caller(task, depth, 8),
                caller(task, depth, 9),
                caller(task, depth, 10),
                caller(task, depth, 11),
                caller(task, depth, 12),
                caller(task, depth, 13),
                caller(task, depth, 14),
                caller(task, depth, 15),
            ),
            arguments=(
                kept(call, 0),
                kept(call, 1),
                kept(call, 2),
                kept(call, 3),
                kept(call, 4),
                kept(call, 5),
            ),
            name=ctx.comm,
        )

    return tell

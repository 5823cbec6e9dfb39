"""The BPF program that follows errors from the call that fails first to the call that handles or returns them.

Every task has a stack of its traced calls (`errors.frames`). A call that returns an error fails first, unless a call
that it made has just failed: then the same failure propagates. It propagates with another error only if no other call
succeeded in between. It ends in a call that does not fail, or with the outermost call.

Equal failures are counted in the kernel (`errors.kinds`); or, where each is wanted by itself, beginnings and ends are
sent as events. What a call returned is noted with its caller's frame until that has returned, too: nothing is looked up
in a table of the kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import multiprobe as mp
from multiprobe.instruments.errors.failures import NULL, OF_PROGRAM
from multiprobe.instruments.errors.frames import (
    DEEPEST,
    FAILED,
    FRAMES,
    FUNCTION,
    LONGEST_PATH,
    PROGRAMS,
    TAIL_CALL,
    WATCHED,
    end_caller,
    function_of,
    make_frame,
    stacks,
    take_row,
    top,
)
from multiprobe.instruments.errors.kinds import ERROR, ERROR_BITS, make_begin, make_end
from multiprobe.instruments.task_rows import N_ROWS, NO_ROW, OWNER, STATE, number_of_task
from multiprobe.maps.specs import RowArray

if TYPE_CHECKING:
    from collections.abc import Callable

    from multiprobe.compiler.program import Program

NEVER, INT, LONG, POINTER = 0, 1, 2, 3
"""A function's cookie, with PROGRAMS or without: it returns no errors, an int, a long, or a pointer."""
KIND = 3
MAX_ARGUMENTS = 6
FOLLOWED, IDENTITY_SHIFT = 1 << ERROR_BITS, ERROR_BITS + 1
"""What is noted of a failed call: its error; FOLLOWED, if another call succeeded since; and which failure it is of."""
MAX_CALLS = 60_000
"""Calls in progress whose arguments are known; beyond, the least recently used are lost."""
COOKIE_SHIFT, COOKIE, ROW_SHIFT, TASK_SHIFT = 9, 7, 12, 32
"""The session holds the depth + 1, with TAIL_CALL or without; the function's cookie; the row; and the task."""
TOO_DEEP, TAKEN = 0, 1

MAX_ERRNO = NULL - 1


class Begun(mp.Event):
    """A call failed first. `frames`: index + 1 of its function, of its caller, …; `depth`: the number of callers."""

    identity: mp.u64
    time: mp.u64
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
arguments = mp.LruHash(mp.u64, mp.u64, 2 * MAX_CALLS)
n_begun = RowArray(mp.u64, 1, width=1)
"""How many failures had their beginnings sent: the identity of the last one."""
lost = mp.Array(mp.u64, 2)
"""Calls that were not followed: TOO_DEEP, or TAKEN: another task took the row."""


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


def make_program(
    *, n_arguments: int = 0, has_types: bool = True, has_programs: bool = False, is_each: bool = False
) -> Program:
    """The program; it records `n_arguments` (up to 6) of every call.

    has_types: the kernel has BTF
    has_programs: some functions are of programs, which their cookies tell
    is_each: every failure is sent by itself, in `begun` and `ended`; else they are counted in `errors.kinds.kinds`
    """
    enter = _enterer(n_arguments, has_types=has_types, has_programs=has_programs)
    tell = _teller(n_arguments, has_types=has_types)
    begin, end = (_sender(tell), send_end) if is_each else (make_begin(tell), make_end())

    @mp.program(when="session")
    def errors(ctx: mp.Context) -> None:
        if not ctx.is_return:
            ctx.session = enter(ctx)
            return
        mark = ctx.session
        if not mark:
            return
        row = mark >> ROW_SHIFT & N_ROWS - 1
        task = mark >> TASK_SHIFT
        if stacks[row, OWNER] != task:
            lost[TAKEN] += 1
            return
        depth = (mark & DEEPEST) - 1
        cookie = mark >> COOKIE_SHIFT & COOKIE
        state = stacks[row, STATE]
        if mark & TAIL_CALL:
            end_caller(row, depth)
        error = error_of(cookie, mp.i64(ctx.return_register))
        below = state >> 8  # a bit for each call with a failure below it
        has_failed = below >> depth & 1
        failed = stacks[row, FAILED + depth] if has_failed else 0
        identity = failed >> IDENTITY_SHIFT
        if error:
            if not has_failed or (failed & FOLLOWED and failed & ERROR != error):
                if has_failed:
                    end(identity, ctx.function + 1, 0)
                identity = begin(ctx, row, depth, task << 8 | depth, error)
            elif not depth:
                end(identity, ctx.function + 1, error)
        elif has_failed:
            end(identity, ctx.function + 1, 0)
        below &= (1 << depth) - 1
        if not depth:
            stacks[row, STATE] = 0
            return
        if error and depth <= WATCHED:
            if below >> depth - 1 & 1:
                end(stacks[row, FAILED + depth - 1] >> IDENTITY_SHIFT, function_of(stacks[row, FRAMES + depth - 1]), 0)
            stacks[row, FAILED + depth - 1] = identity << IDENTITY_SHIFT | error
            below |= 1 << depth - 1
        elif cookie & KIND and below >> depth - 1 & 1:
            stacks[row, FAILED + depth - 1] |= FOLLOWED
        stacks[row, STATE] = below << 8 | depth

    return errors


def _sender(
    tell: Callable[[mp.Context, int, int, int, int, int], bool],
) -> Callable[[mp.Context, int, int, int, int], int]:
    """The helper that sends the beginning of every failure, and gives it an identity."""

    @mp.helper
    def send_beginning(ctx: mp.Context, row: int, depth: int, call: int, error: int) -> int:
        identity = n_begun.fetch_add((0, 0), 1) + 1
        tell(ctx, row, depth, call, error, identity)
        return identity

    return send_beginning


@mp.helper
def send_end(identity: int, frame: int, error: int) -> None:
    """Send the end of a failure, in the function with the index `frame` − 1."""
    ended.send(identity=identity, frame=frame, error=error)


def _enterer(n_arguments: int, *, has_types: bool, has_programs: bool) -> Callable[[mp.Context], int]:
    """The helper that puts a call on its task's stack; what its session holds, 0 if it can't be followed."""
    keep = _keeper(n_arguments) if n_arguments else keep_nothing
    frame_of = make_frame(has_types=has_types, has_programs=has_programs)

    @mp.helper
    def enter(ctx: mp.Context) -> int:
        task = number_of_task(ctx)
        row = take_row(task)
        if row == NO_ROW:
            lost[TAKEN] += 1
            return 0
        frame = frame_of(ctx)
        before = stacks[row, STATE]
        left = top(row, before & DEEPEST, frame)
        depth = left & DEEPEST
        if depth == DEEPEST:
            lost[TOO_DEEP] += 1
            return 0
        stacks[row, FRAMES + depth] = frame
        keep(ctx, task << 8 | depth)
        stacks[row, STATE] = (before & (1 << depth + 8) - 256 | depth) + 1
        return task << TASK_SHIFT | row << ROW_SHIFT | (ctx.cookie & COOKIE) << COOKIE_SHIFT | left + 1

    return enter


def _keeper(n_arguments: int) -> Callable[[mp.Context, int], None]:
    """The helper that records a call's arguments."""
    has_1, has_2, has_3, has_4, has_5 = (n < n_arguments for n in range(1, MAX_ARGUMENTS))

    @mp.helper
    def keep(ctx: mp.Context, call: int) -> None:
        arguments[call << 3 | 0] += ctx.arg(0) - arguments[call << 3 | 0]
        if has_1:
            arguments[call << 3 | 1] += ctx.arg(1) - arguments[call << 3 | 1]
        if has_2:
            arguments[call << 3 | 2] += ctx.arg(2) - arguments[call << 3 | 2]
        if has_3:
            arguments[call << 3 | 3] += ctx.arg(3) - arguments[call << 3 | 3]
        if has_4:
            arguments[call << 3 | 4] += ctx.arg(4) - arguments[call << 3 | 4]
        if has_5:
            arguments[call << 3 | 5] += ctx.arg(5) - arguments[call << 3 | 5]

    return keep


@mp.helper
def keep_nothing(ctx: mp.Context, call: int) -> None:
    """Replaces the helper of `_keeper` when no arguments are recorded."""
    return


@mp.helper
def argument(call: int, n: int) -> int:
    """An argument that was recorded when its call began."""
    return arguments[call << 3 | n]


@mp.helper
def nothing(call: int, n: int) -> int:
    """Replaces `argument` when none are recorded."""
    return 0


def _teller(n_arguments: int, *, has_types: bool) -> Callable[[mp.Context, int, int, int, int, int], bool]:
    """The helper that sends the beginning of a failure: whether there was room."""
    kept = argument if n_arguments else nothing

    @mp.helper
    def tell(ctx: mp.Context, row: int, depth: int, call: int, error: int, identity: int) -> bool:
        frame = stacks[row, FRAMES + depth]
        return begun.send(
            identity=identity,
            time=ctx.time,
            pid=ctx.ns_pid,
            tid=ctx.ns_tid,
            error=error,
            depth=depth,
            frames=(
                frame & FUNCTION,
                stacks[row, FRAMES + depth - 1] & FUNCTION,
                stacks[row, FRAMES + depth - 2] & FUNCTION,
                stacks[row, FRAMES + depth - 3] & FUNCTION,
                stacks[row, FRAMES + depth - 4] & FUNCTION,
                stacks[row, FRAMES + depth - 5] & FUNCTION,
                stacks[row, FRAMES + depth - 6] & FUNCTION,
                stacks[row, FRAMES + depth - 7] & FUNCTION,
                stacks[row, FRAMES + depth - 8] & FUNCTION,
                stacks[row, FRAMES + depth - 9] & FUNCTION,
                stacks[row, FRAMES + depth - 10] & FUNCTION,
                stacks[row, FRAMES + depth - 11] & FUNCTION,
                stacks[row, FRAMES + depth - 12] & FUNCTION,
                stacks[row, FRAMES + depth - 13] & FUNCTION,
                stacks[row, FRAMES + depth - 14] & FUNCTION,
                stacks[row, FRAMES + depth - 15] & FUNCTION,
            ),
            arguments=(
                kept(call, 0),
                kept(call, 1),
                kept(call, 2),
                kept(call, 3),
                kept(call, 4),
                kept(call, 5),
            ),
            name=ctx.task.comm if has_types else ctx.comm,
        )

    return tell

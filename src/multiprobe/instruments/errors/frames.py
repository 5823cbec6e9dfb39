"""The stack of calls that `errors.program` keeps for each task, and which of its calls have returned unseen.

A return is missed where the kernel doesn't run the program, or where its link was removed during the call. The frame
that such a call leaves would appear on the path of every later call of the task. So each frame has two facts of its
call, by which a later call shows that it wasn't made below it: the task's last entry into the kernel was another one;
or the stack, which grows downwards, is less deep. Neither is ever so during a call, except that exec and signals
change the user's registers. An interrupt has another stack: it is over when the stack of the outermost call is used
again.

Frames of functions of programs are on the process's stack, which is larger; a hit of their probes is itself an entry
into the kernel. So only the depth of the stack counts for them. No call of the kernel is in progress while the program
runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.instruments.task_rows import WIDTH, make_rows, make_take_row

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_PATH = 16
DEEPEST = 255
WATCHED = 56
"""Failures below calls up to this depth are followed; of deeper ones only the beginning is known."""
TAIL_CALL = 1 << 8
"""Set in what `make_top` returns: the call may be a tail call of the one below it."""
FUNCTION_BITS = 23
FUNCTION, OF_PROGRAM = (1 << FUNCTION_BITS) - 1, 1 << FUNCTION_BITS
ENTRY_SHIFT, ENTRY, POINTER_SHIFT = 24, 0xFF, 32
PROGRAMS = 1 << 2
"""Set in the cookie of a function of a program or library."""
STACK_BITS = 14
"""Stacks are aligned to 16 kB, or more."""
BOTTOM = ((1 << 64) - 1) ^ ((1 << STACK_BITS) - 1 << POINTER_SHIFT)
"""Keeps of a frame's stack pointer the lowest address of its stack."""

FRAMES = WIDTH + LONGEST_PATH - 1
FAILED = FRAMES + DEEPEST
"""Places in a task's row (`instruments.task_rows`). STATE: the depth of its stack (8 bits), and above, a bit for
each call on it that made a failed call. FRAMES: by depth, index + 1 of the call's function (23 bits), OF_PROGRAM or 0,
`ctx.kernel_entry` (8 bits), `ctx.stack_pointer`. What is before the first frame is 0: a path ends there. FAILED: by
depth, where the bit in STATE is set, what the failed call below it returned (see `errors.program`)."""
stacks = make_rows(LONGEST_PATH - 1 + DEEPEST + WATCHED)
take_row = make_take_row(stacks, busy=DEEPEST)


@mp.helper
def function_of(frame: int) -> int:
    """Index + 1 of a frame's function."""
    return frame & FUNCTION


@mp.helper
def end_caller(row: int, depth: int) -> None:
    """The call at `depth` is a tail call of the one below it, which has nothing more to do: it makes no later calls."""
    stacks[row, FRAMES + depth - 1] &= BOTTOM


@mp.helper
def has_returned(frame: int, new: int, row: int) -> bool:
    """Whether the call that left `frame` has returned, as the call of the frame `new` begins."""
    pointer, here = frame >> POINTER_SHIFT, new >> POINTER_SHIFT
    if (frame | new) & OF_PROGRAM:
        if (frame ^ new) & OF_PROGRAM:
            return bool(new & OF_PROGRAM)
        if pointer == here:  # a tail call, or the next call after one that has returned
            return function_of(frame) == function_of(new)
        return mp.i32(here - pointer) > 0
    if (frame ^ new) >> ENTRY_SHIFT & ENTRY:
        return True
    if (pointer ^ here) >> STACK_BITS:  # an interrupt begins, or is over
        return not (stacks[row, FRAMES] ^ new) >> POINTER_SHIFT + STACK_BITS
    if pointer == here | 1:  # a tail call, or the next call after one that has returned
        return function_of(frame) == function_of(new)
    return here | 1 > pointer


@mp.helper
def top(row: int, depth: int, new: int) -> int:
    """Remove the frames of calls that have returned when the call of the frame `new` begins.

    Returns the depth that is left, with TAIL_CALL or without.
    """
    while depth:
        frame = stacks[row, FRAMES + depth - 1]
        if not has_returned(frame, new, row):
            return depth | (TAIL_CALL if frame >> POINTER_SHIFT == new >> POINTER_SHIFT | 1 else 0)
        depth -= 1
    return depth


def make_frame(*, has_types: bool, has_programs: bool = False) -> Callable[[mp.Context], int]:
    """The helper that makes the frame of a call that begins. Without the kernel's types its entry isn't known.

    has_programs: some functions are of programs, which their cookies tell
    """

    @mp.helper
    def frame_of(ctx: mp.Context) -> int:
        frame = ctx.stack_pointer << POINTER_SHIFT | mp.u64(ctx.function + 1) & FUNCTION
        if has_types:
            frame = frame | (ctx.kernel_entry & ENTRY) << ENTRY_SHIFT
        if has_programs:
            frame = frame | (OF_PROGRAM if ctx.cookie & PROGRAMS else 0)
        return frame

    return frame_of

"""The BPF program that traces calls: the events it sends, and its source, generated around a filter.

One program serves all functions. Their differences (number of arguments, registers of system calls, reads behind
arguments) are in tables; a `ReadStep` of `trace.reads` is two numbers there.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.arch import native
from multiprobe.errors import UsageError
from multiprobe.instruments.generated import make_generated
from multiprobe.instruments.trace.filter import Filter
from multiprobe.instruments.trace.reads import (
    ARGUMENT_MASK,
    BLOCK_SIZE,
    FILL_BIT,
    FILLED,
    LENGTH_MASK,
    LENGTH_SHIFT,
    MAX_ARGUMENTS,
    MAX_STEPS,
    N_ARGUMENTS,
    SIZE_MASK,
    SIZE_SHIFT,
    TEXT_BIT,
    UNUSED_SHIFT,
)
from multiprobe.kernel.btf.values import MAX_ERRNO

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multiprobe.compiler.program import Program
    from multiprobe.instruments.trace.arguments import Described, Outline
    from multiprobe.instruments.trace.reads import ReadStep

TEXT_SIZE = 128
COUNT_MASK, SYSCALL, MANY, KNOWN, POINTER, FILLS, PROGRAM = 0x1F, 1 << 5, 1 << 6, 1 << 7, 1 << 8, 1 << 9, 1 << 10
FIRST_SHIFT = 11
"""A function's bits in the table: the number of its steps; whether it is a system call's wrapper, has more than
N_ARGUMENTS, is filled in (calls before that aren't traced), returns a pointer or an address as a number, fills a
buffer; whether it is a program's, whose arguments point to user memory; the position of its first step."""
KERNEL_HALF = 1 << 63
ERRORS = (1 << 64) - 4096
"""Pointers from here on are errnos."""
MAX_KEPT = 1 << 16
"""Room for values kept from entries to returns: addresses of buffers to be filled, and what filters need of both."""
FEW_STEPS, MOST_STEPS = 1 << 10, 1 << 15
"""Room for the steps of all functions."""


def _event(name: str, **fields: object) -> type[mp.Event]:
    """An event type with these fields."""
    return type(name, (mp.Event,), {"__annotations__": fields})


_CALL = {"thread": mp.u64, "begin": mp.u64}
"""The key of a call: pid << 32 | tid, and the time of its entry."""
_ARGUMENTS = {f"a{n}": mp.u64 for n in range(N_ARGUMENTS)}
_WHERE = {"function": mp.u32, "cpu": mp.u32, "comm": mp.string(16)}
Entered = _event("Entered", **_CALL, **_WHERE, **_ARGUMENTS)
"""A call began."""
EnteredOn = _event("EnteredOn", **_CALL, **_WHERE, **_ARGUMENTS, stack=mp.i64)
"""The same, with the id of the kernel's stack."""
More = _event("More", **_CALL, **{f"a{n}": mp.u64 for n in range(N_ARGUMENTS, MAX_ARGUMENTS)})
"""A call's arguments that are not in registers."""
Text = _event("Text", **_CALL, step=mp.u32, text=mp.string(TEXT_SIZE))
"""The string that a step read. Like all events of a call, it is sent before its Entered."""
Block = _event("Block", **_CALL, step=mp.u64, memory=mp.bytes_(BLOCK_SIZE))
"""The memory that a step read."""
Left = _event("Left", **_CALL, end=mp.u64, function=mp.u32, cpu=mp.u32, ret=mp.i64)
"""A call returned."""


RESULT = """\
        end = ctx.time
        duration = end - begin
        ret = ctx.ret
        if ret < -MAX_ERRNO and table[ctx.function] & POINTER:
            ret = ret & MAX_POSITIVE
        thread = mp.u64(ctx.ns_pid << 32 | mp.u32(ctx.ns_tid))
"""
"""Of a call that returns: the time, and the result as conditions see it."""
_RETURN = """\
    if ctx.is_return:
        begin = ctx.session
        if not begin:
            return
{result}        buffer = 0
        if table[ctx.function] & FILLS:
            buffer = fills[thread, begin]
            del fills[thread, begin]
{found}        if {returned}:
            if buffer and ret > 0:
                send_filled(thread, begin, buffer, ret)
            left.send(thread=thread, begin=begin, end=end, function=ctx.function, cpu=ctx.cpu, ret=ctx.ret)
        return
    ctx.session = 0
"""
_SOURCE = """\
def trace(ctx):
{leave}    if not ({entry}):
        return
    how = table[ctx.function]
    if not how:
        return
    begin = ctx.time
    thread = mp.u64(ctx.ns_pid << 32 | mp.u32(ctx.ns_tid))
{kept}    a0 = ctx.arg(0)
    a1 = ctx.arg(1)
    a2 = ctx.arg(2)
    a3 = ctx.arg(3)
    a4 = ctx.arg(4)
    a5 = ctx.arg(5)
    a6, a7, a8, a9, a10, a11 = 0, 0, 0, 0, 0, 0
    if how & SYSCALL:
        registers = mp.cast("struct pt_regs *", a0)
        a0, a1, a2, a3, a4, a5 = {registers}
    elif how & MANY:
        a6 = ctx.arg(6)
        a7 = ctx.arg(7)
        a8 = ctx.arg(8)
        a9 = ctx.arg(9)
        a10 = ctx.arg(10)
        a11 = ctx.arg(11)
        more.send(thread=thread, begin=begin, a6=a6, a7=a7, a8=a8, a9=a9, a10=a10, a11=a11)
    count = how & COUNT_MASK
    at = 2 * (how >> FIRST_SHIFT)
    for n in range(MAX_STEPS):
        if n >= count:
            break
        what = steps[at + 2 * n & last]
        way = steps[at + 2 * n + 1 & last]
        address = pick(what & ARGUMENT_MASK, a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11) + (what >> UNUSED_SHIFT)
{walk}        if what & FILL_BIT:
            {fill}
        elif what & TEXT_BIT:
            send_text(thread, begin, n, address)
{user}        elif KERNEL_HALF <= address < ERRORS:
            blocks.send(thread=thread, begin=begin, step=n, memory=mp.kernel_bytes(address))
    entered.send(thread=thread, begin=begin, function=ctx.function, cpu=ctx.cpu, comm={comm},
                 a0=a0, a1=a1, a2=a2, a3=a3, a4=a4, a5=a5{stack})
"""
_WALK = """\
        address = walk(address, what >> LENGTH_SHIFT & LENGTH_MASK, way)
"""
_WALK_BOTH = """\
        if how & PROGRAM:
            address = walk_user(address, what >> LENGTH_SHIFT & LENGTH_MASK, way)
        else:
            address = walk(address, what >> LENGTH_SHIFT & LENGTH_MASK, way)
"""
_USER = """\
        elif how & PROGRAM:
            if address:
                blocks.send(thread=thread, begin=begin, step=n,
                            memory=mp.user_bytes(address, what >> SIZE_SHIFT & SIZE_MASK))
"""
"""Of functions of programs: what their arguments point to is read as the process could read it itself."""


@mp.helper
def pick(
    position: int, a0: int, a1: int, a2: int, a3: int, a4: int, a5: int, a6: int, a7: int, a8: int, a9: int, a10: int,
    a11: int,
) -> int:  # fmt: skip
    """The argument at a position."""
    if position < 6:
        if position < 3:
            return a0 if position == 0 else a1 if position == 1 else a2
        return a3 if position == 3 else a4 if position == 4 else a5
    if position < 9:
        return a6 if position == 6 else a7 if position == 7 else a8
    return a9 if position == 9 else a10 if position == 10 else a11


@mp.helper
def walk(address: int, length: int, way: int) -> int:
    """The end of a chain of pointers with `length` offsets in `way`; 0 if one of them isn't a kernel pointer."""
    for n in range(3):
        if n + 1 >= length:
            break
        if address < KERNEL_HALF or address >= ERRORS:
            return 0
        address = mp.cast("u64 *", address + (way & 0xFFFF))[0]
        way = way >> 16
    return address + (way & 0xFFFF) if address else 0


@mp.helper
def walk_user(address: int, length: int, way: int) -> int:
    """The same in the memory of the process; 0 if it leads out of there."""
    for n in range(3):
        if n + 1 >= length:
            break
        if not address:
            return 0
        address = mp.user(mp.cast("u64 *", address + (way & 0xFFFF)))[0]
        way = way >> 16
    address = address + (way & 0xFFFF) if address else 0
    return address if address < KERNEL_HALF else 0


_CONSTANTS = {
    "SYSCALL": SYSCALL, "MANY": MANY, "COUNT_MASK": COUNT_MASK, "FIRST_SHIFT": FIRST_SHIFT, "MAX_STEPS": MAX_STEPS,
    "ARGUMENT_MASK": ARGUMENT_MASK, "TEXT_BIT": TEXT_BIT, "LENGTH_SHIFT": LENGTH_SHIFT, "LENGTH_MASK": LENGTH_MASK,
    "UNUSED_SHIFT": UNUSED_SHIFT, "FILL_BIT": FILL_BIT, "FILLS": FILLS,
    "MAX_ERRNO": MAX_ERRNO, "MAX_POSITIVE": (1 << 63) - 1, "POINTER": POINTER,
    "KERNEL_HALF": KERNEL_HALF, "ERRORS": ERRORS, "PROGRAM": PROGRAM, "SIZE_SHIFT": SIZE_SHIFT, "SIZE_MASK": SIZE_MASK,
}  # fmt: skip


def _kept(wanted: Filter) -> str:
    """The source that keeps values at the entry for the return; the key is the call."""
    lines = [f"    keep[thread, begin, {n}] = {code}\n" for n, code in enumerate(wanted.kept)]
    return "".join([*lines, "    ctx.session = begin\n"])


def _found(wanted: Filter) -> str:
    """The source that fetches them at the return. A call whose values found no room is not traced."""
    lines = []
    for n in range(len(wanted.kept)):
        found = f"mp.{'i' if n in wanted.signed else 'u'}64(keep[thread, begin, {n}])"
        lines += [f"        kept{n} = {found}\n", f"        is{n} = (thread, begin, {n}) in keep\n"]
        lines += [f"        del keep[thread, begin, {n}]\n"]
    lines += [f"        if not is{n}:\n            return\n" for n in range(len(wanted.kept))]
    return "".join(lines)


class TraceProbe:
    """The program and its maps: ring buffers of events, and the tables of functions and their steps."""

    def __init__(
        self,
        wanted: Filter,
        *,
        entries_only: bool,
        size: int,
        n_steps: int = 0,
        has_stacks: bool = False,
        has_programs: bool = False,
        has_types: bool = False,
        is_sleepable: bool = False,
    ) -> None:
        """has_types: the kernel has BTF, by which a task's name is found without calling the kernel."""
        if entries_only and wanted.returned:
            what = "ret, duration or what a call wrote"
            raise UsageError(f"the filter uses {what}, but returns are not traced", hint="trace returns, too")
        self.entered = mp.RingBuffer(EnteredOn if has_stacks else Entered, size=size)
        self.texts = mp.RingBuffer(Text, size=size)
        self.blocks = mp.RingBuffer(Block, size=size)
        self.more = mp.RingBuffer(More, size=size)
        self.left = mp.RingBuffer(Left, size=size)
        self.table = mp.PerFunction(mp.u32, shared=True)
        self.n_steps = FEW_STEPS if n_steps <= FEW_STEPS else MOST_STEPS
        self.steps = mp.Array(mp.u64, 2 * self.n_steps)
        self.keep = mp.Hash((mp.u64, mp.u64, mp.u32), mp.u64, MAX_KEPT)
        self.fills = mp.Hash((mp.u64, mp.u64), mp.u64, MAX_KEPT)
        self.stacks = mp.StackTraces() if has_stacks else None
        self.when = "entry" if entries_only else "session"
        self.has_programs = has_programs
        self.has_types = has_types
        self.program = self._program(wanted)
        self.program.sleepable = is_sleepable

    @property
    def streams(self) -> list[mp.RingBuffer[mp.Event]]:
        """The ring buffers in the order in which they must be read: an event refers to events in later ones."""
        first = [] if self.when == "entry" else [self.left]
        return [*first, self.entered, self.more, self.blocks, self.texts]

    def _program(self, wanted: Filter) -> Program:
        texts = self.texts

        @mp.helper
        def send_text(thread: int, begin: int, step: int, address: int) -> None:
            if address >= KERNEL_HALF:
                texts.send(thread=thread, begin=begin, step=step, text=mp.kernel_string(address))
            elif address:
                texts.send(thread=thread, begin=begin, step=step, text=mp.user_string(address))

        @mp.helper
        def send_filled(thread: int, begin: int, address: int, size: int) -> None:
            if address >= KERNEL_HALF:
                texts.send(thread=thread, begin=begin, step=FILLED, text=mp.kernel_string(address, size))
            else:
                texts.send(thread=thread, begin=begin, step=FILLED, text=mp.user_string(address, size))

        is_session = self.when == "session"
        source = _SOURCE.format(
            leave=_RETURN.format(returned=wanted.returned or "True", found=_found(wanted), result=RESULT)
            if is_session
            else "",
            entry=wanted.entry or "True",
            kept=_kept(wanted) if is_session else "",
            walk=_WALK_BOTH if self.has_programs else _WALK,
            user=_USER if self.has_programs else "",
            fill="fills[thread, begin] = address" if is_session else "pass",
            registers=", ".join(f"registers.{name}" for name in native().system_call_arguments),
            comm="ctx.task.comm" if self.has_types else "ctx.comm",
            stack="" if self.stacks is None else ", stack=stacks.id(ctx)",
        )
        names: dict[str, object] = _CONSTANTS | {
            "mp": mp, "pick": pick, "walk": walk, "walk_user": walk_user, "send_text": send_text,
            "send_filled": send_filled, "fills": self.fills, "last": 2 * self.n_steps - 1,
            "table": self.table, "steps": self.steps, "keep": self.keep, "stacks": self.stacks, "left": self.left,
            "entered": self.entered, "more": self.more, "blocks": self.blocks, "texts": texts,
        }  # fmt: skip
        return make_generated("trace", source, names, when=self.when, what="filter")


def tables(described: Sequence[Described | Outline], *, most: int = MOST_STEPS) -> tuple[array[int], array[int]]:
    """The contents of the two tables: a number for each function, and two for each step.

    Functions with equal steps use the same ones. Functions whose steps find no room among `most` have none.
    """
    steps: array[int] = array("Q")
    first_steps: dict[tuple[ReadStep, ...], int] = {(): 0}
    functions: array[int] = array("I")
    for known in described:
        first = first_steps.get(known.steps)
        if first is None and len(steps) // 2 + len(known.steps) <= most:
            first = first_steps[known.steps] = len(steps) // 2
            for step in known.steps:
                steps.extend(step.words)
        bits = KNOWN | (SYSCALL if known.is_syscall else 0) | (MANY if known.n_slots > N_ARGUMENTS else 0)
        bits |= POINTER if known.result.kind == "pointer" or known.result.may_be_errno else 0
        bits |= PROGRAM if known.is_program else 0
        bits |= FILLS if any(step.is_filled for step in known.steps) else 0
        functions.append(bits | (0 if first is None else len(known.steps) | first << FIRST_SHIFT))
    return functions, steps

"""The program of `trace`: what it sends for each call, and how it is written around a filter.

One program for all functions: what differs between them (how many arguments, which registers a system call's wrapper
passes on, what is read behind which argument) stands in tables. A step of `trace_plan` is two numbers there.
"""

from __future__ import annotations

import linecache
from array import array
from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.errors import CompileError, UsageError
from multiprobe.instruments.trace.filter import Filter
from multiprobe.instruments.trace.reads import (
    BLOCK_SIZE,
    LENGTH_MASK,
    LENGTH_SHIFT,
    MAX_ARGUMENTS,
    MAX_STEPS,
    N_ARGUMENTS,
    PLACE_MASK,
    TEXT_BIT,
    UNUSED_SHIFT,
)
from multiprobe.kernel.btf.values import MAX_ERRNO

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from multiprobe.instruments.trace.reads import Step
    from multiprobe.instruments.trace.types import Described

TEXT_SIZE = 128
COUNT_MASK, SYSCALL, MANY, KNOWN, POINTER, FIRST_SHIFT = 0x1F, 1 << 5, 1 << 6, 1 << 7, 1 << 8, 9
"""A function's bits in the table: how many steps it has; a system call's wrapper; more than N_ARGUMENTS; that it is
filled in (calls before that aren't traced); that it returns a pointer, or an address as a number; the place of its
first step."""
SYSCALL_REGISTERS = ("di", "si", "dx", "r10", "r8", "r9")
KERNEL_HALF = 1 << 63
ERRORS = (1 << 64) - 4096
"""From here on a pointer is an errno."""
MAX_KEPT = 1 << 16
"""So many values may wait for the returns of their calls, for filters that need both."""
FEW_STEPS, MOST_STEPS = 1 << 10, 1 << 15
"""Room for steps of all functions together."""


def _event(name: str, **fields: Any) -> Any:
    """An event type, from fields whose types are values."""
    return type(name, (mp.Event,), {"__annotations__": fields})


_CALL = {"thread": mp.u64, "begin": mp.u64}
"""What makes a call unique: pid << 32 | tid, and the time of its entry."""
_ARGUMENTS = {f"a{place}": mp.u64 for place in range(N_ARGUMENTS)}
_WHERE = {"function": mp.u32, "cpu": mp.u32, "comm": mp.string(16)}
Entered = _event("Entered", **_CALL, **_WHERE, **_ARGUMENTS)
"""A call began."""
EnteredOn = _event("EnteredOn", **_CALL, **_WHERE, **_ARGUMENTS, stack=mp.i64)
"""The same, with the id of the kernel's stack."""
More = _event("More", **_CALL, **{f"a{place}": mp.u64 for place in range(N_ARGUMENTS, MAX_ARGUMENTS)})
"""A call's arguments that are not in registers."""
Text = _event("Text", **_CALL, step=mp.u32, text=mp.string(TEXT_SIZE))
"""A step's text; like all that a call sends, sent before its Entered."""
Block = _event("Block", **_CALL, step=mp.u64, memory=mp.bytes_(BLOCK_SIZE))
"""A step's memory."""
Left = _event("Left", **_CALL, end=mp.u64, function=mp.u32, cpu=mp.u32, ret=mp.i64)
"""A call returned."""


_RETURN = """\
    if ctx.is_return:
        begin = ctx.session
        if not begin:
            return
        end = ctx.time
        duration = end - begin
        ret = ctx.ret
        if ret < -MAX_ERRNO and table[ctx.function] & POINTER:
            ret = ret & MAX_POSITIVE
        thread = ctx.pid << 32 | ctx.tid
{found}        if {returned}:
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
    thread = ctx.pid << 32 | ctx.tid
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
        address = pick(what & PLACE_MASK, a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11) + (what >> UNUSED_SHIFT)
        address = walk(address, what >> LENGTH_SHIFT & LENGTH_MASK, way)
        if what & TEXT_BIT:
            send_text(thread, begin, n, address)
        elif KERNEL_HALF <= address < ERRORS:
            blocks.send(thread=thread, begin=begin, step=n, memory=mp.kernel_bytes(address))
    entered.send(thread=thread, begin=begin, function=ctx.function, cpu=ctx.cpu, comm=ctx.comm,
                 a0=a0, a1=a1, a2=a2, a3=a3, a4=a4, a5=a5{stack})
"""


@mp.helper
def pick(
    place: Any, a0: Any, a1: Any, a2: Any, a3: Any, a4: Any, a5: Any, a6: Any, a7: Any, a8: Any, a9: Any, a10: Any,
    a11: Any,
) -> Any:  # fmt: skip
    """The argument at a place."""
    if place < 6:
        if place < 3:
            return a0 if place == 0 else a1 if place == 1 else a2
        return a3 if place == 3 else a4 if place == 4 else a5
    if place < 9:
        return a6 if place == 6 else a7 if place == 7 else a8
    return a9 if place == 9 else a10 if place == 10 else a11


@mp.helper
def walk(address: Any, length: Any, way: Any) -> Any:
    """The end of a way of `length` offsets; 0 where a pointer on it isn't the kernel's."""
    for n in range(3):
        if n + 1 >= length:
            break
        if address < KERNEL_HALF or address >= ERRORS:
            return 0
        address = mp.cast("u64 *", address + (way & 0xFFFF))[0]
        way = way >> 16
    return address + (way & 0xFFFF) if address else 0


_CONSTANTS = {
    "SYSCALL": SYSCALL, "MANY": MANY, "COUNT_MASK": COUNT_MASK, "FIRST_SHIFT": FIRST_SHIFT, "MAX_STEPS": MAX_STEPS,
    "PLACE_MASK": PLACE_MASK, "TEXT_BIT": TEXT_BIT, "LENGTH_SHIFT": LENGTH_SHIFT, "LENGTH_MASK": LENGTH_MASK,
    "UNUSED_SHIFT": UNUSED_SHIFT, "MAX_ERRNO": MAX_ERRNO, "MAX_POSITIVE": (1 << 63) - 1, "POINTER": POINTER,
    "KERNEL_HALF": KERNEL_HALF, "ERRORS": ERRORS,
}  # fmt: skip


def _kept(wanted: Filter) -> str:
    """What the entry leaves for the return, for which its time is the key."""
    lines = [f"    keep[thread, begin, {n}] = {code}\n" for n, code in enumerate(wanted.kept)]
    return "".join([*lines, "    ctx.session = begin\n"])


def _found(wanted: Filter) -> str:
    """The return takes it. What found no room at the entry isn't there, and the call is not shown."""
    lines = []
    for n in range(len(wanted.kept)):
        found = f"mp.{'i' if n in wanted.signed else 'u'}64(keep[thread, begin, {n}])"
        lines += [f"        kept{n} = {found}\n", f"        is{n} = (thread, begin, {n}) in keep\n"]
        lines += [f"        del keep[thread, begin, {n}]\n"]
    lines += [f"        if not is{n}:\n            return\n" for n in range(len(wanted.kept))]
    return "".join(lines)


class Probe:
    """The program and its maps: streams of events, and the tables of functions and their steps."""

    def __init__(
        self, wanted: Filter, *, entries_only: bool, size: int, n_steps: int = 0, has_stacks: bool = False
    ) -> None:
        if entries_only and wanted.returned:
            raise UsageError("--entry sees no returns, which the filter asks for", hint="leave out --entry")
        self.entered = mp.RingBuffer(EnteredOn if has_stacks else Entered, size=size)
        self.texts = mp.RingBuffer(Text, size=size)
        self.blocks = mp.RingBuffer(Block, size=size)
        self.more = mp.RingBuffer(More, size=size)
        self.left = mp.RingBuffer(Left, size=size)
        self.table: Any = mp.PerFunction(mp.u32)
        self.n_steps = FEW_STEPS if n_steps <= FEW_STEPS else MOST_STEPS
        self.steps: Any = mp.Array(mp.u64, 2 * self.n_steps)
        self.keep: Any = mp.Hash((mp.u64, mp.u64, mp.u32), mp.u64, MAX_KEPT)
        self.stacks: Any = mp.StackTraces() if has_stacks else None
        self.when = "entry" if entries_only else "session"
        self.program = self._program(wanted)

    @property
    def streams(self) -> list[Any]:
        """The streams in the order in which they must be read: what one speaks of is in those after it."""
        first = [] if self.when == "entry" else [self.left]
        return [*first, self.entered, self.more, self.blocks, self.texts]

    def _program(self, wanted: Filter) -> Any:
        texts = self.texts

        @mp.helper
        def send_text(thread: Any, begin: Any, step: Any, address: Any) -> None:
            if address >= KERNEL_HALF:
                texts.send(thread=thread, begin=begin, step=step, text=mp.kernel_string(address))
            elif address:
                texts.send(thread=thread, begin=begin, step=step, text=mp.user_string(address))

        is_session = self.when == "session"
        source = _SOURCE.format(
            leave=_RETURN.format(returned=wanted.returned or "True", found=_found(wanted)) if is_session else "",
            entry=wanted.entry or "True",
            kept=_kept(wanted) if is_session else "",
            registers=", ".join(f"registers.{name}" for name in SYSCALL_REGISTERS),
            stack="" if self.stacks is None else ", stack=stacks.id(ctx)",
        )
        file = f"<trace {abs(hash(source)):x}>"
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        names = _CONSTANTS | {
            "mp": mp, "pick": pick, "walk": walk, "send_text": send_text, "last": 2 * self.n_steps - 1,
            "table": self.table, "steps": self.steps, "keep": self.keep, "stacks": self.stacks, "left": self.left,
            "entered": self.entered, "more": self.more, "blocks": self.blocks, "texts": texts,
        }  # fmt: skip
        try:
            exec(compile(source, file, "exec"), names)
        except SyntaxError as error:
            raise CompileError(f"the filter can't be compiled: {error.msg}") from error
        made: Any = names["trace"]
        return mp.program(made, when=self.when)


def tables(described: Sequence[Described], *, most: int = MOST_STEPS) -> tuple[array[int], array[int]]:
    """What the two tables hold: a number for each function, two for each step. Functions with the same steps share
    them; those for whose steps there is no room among `most` have none.
    """
    steps: array[int] = array("Q")
    places: dict[tuple[Step, ...], int] = {(): 0}
    functions: array[int] = array("I")
    for known in described:
        place = places.get(known.steps)
        if place is None and len(steps) // 2 + len(known.steps) <= most:
            place = places[known.steps] = len(steps) // 2
            for step in known.steps:
                steps.extend(step.words)
        bits = KNOWN | (SYSCALL if known.is_syscall else 0) | (MANY if known.n_slots > N_ARGUMENTS else 0)
        bits |= POINTER if known.result.kind == "pointer" or known.result.may_be_errno else 0
        functions.append(bits | (0 if place is None else len(known.steps) | place << FIRST_SHIFT))
    return functions, steps

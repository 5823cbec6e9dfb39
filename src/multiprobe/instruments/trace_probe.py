"""The program of `trace`: what it sends for each call, and how it is written around a filter.

One program for all functions: what differs between them (which arguments are texts, which registers a system call's
wrapper passes on) stands in a table by function.
"""

from __future__ import annotations

import linecache

import multiprobe as mp
from multiprobe.errors import CompileError, UsageError
from multiprobe.instruments.trace_filter import Filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

N_ARGUMENTS = 6
TEXT_SIZE = 128
FIRST_TEXT, SECOND_TEXT, SYSCALL = 0, 4, 1 << 8
"""The table's bits: at each shift the place of an argument that is a text, counted from 1; a system call's wrapper."""
SYSCALL_REGISTERS = ("di", "si", "dx", "r10", "r8", "r9")
KERNEL_HALF = 1 << 63


def _event(name: str, **fields: Any) -> Any:
    """An event type, from fields whose types are values."""
    return type(name, (mp.Event,), {"__annotations__": fields})


_CALL = {"thread": mp.u64, "begin": mp.u64}
"""What makes a call unique: pid << 32 | tid, and the time of its entry."""
_ARGUMENTS = {f"a{place}": mp.u64 for place in range(N_ARGUMENTS)}
Entered = _event("Entered", **_CALL, function=mp.u32, cpu=mp.u32, comm=mp.string(16), **_ARGUMENTS)
"""A call began."""
Text = _event("Text", **_CALL, place=mp.u32, text=mp.string(TEXT_SIZE))
"""What an argument of a call points to; sent before the call's Entered."""
Left = _event("Left", **_CALL, end=mp.u64, function=mp.u32, cpu=mp.u32, ret=mp.i64)
"""A call returned."""


_SOURCE = """\
def trace(ctx):
    if ctx.is_return:
        begin = ctx.session
        if not begin:
            return
        end = ctx.time
        duration = end - begin
        ret = ctx.ret
        if {returned}:
            left.send(thread=ctx.pid << 32 | ctx.tid, begin=begin, end=end, function=ctx.function, cpu=ctx.cpu, ret=ret)
        return
    {unset}
    if not ({entry}):
        return
    begin = ctx.time
    {kept}
    thread = ctx.pid << 32 | ctx.tid
    how = table[ctx.function]
    a0 = ctx.arg(0)
    a1 = ctx.arg(1)
    a2 = ctx.arg(2)
    a3 = ctx.arg(3)
    a4 = ctx.arg(4)
    a5 = ctx.arg(5)
    if how & SYSCALL:
        registers = mp.cast("struct pt_regs *", a0)
        a0, a1, a2, a3, a4, a5 = {registers}
    first = how & 7
    if first:
        address = pick(first, a0, a1, a2, a3, a4, a5)
        send_text(thread, begin, first - 1, address)
    second = how >> 4 & 7
    if second:
        address = pick(second, a0, a1, a2, a3, a4, a5)
        send_text(thread, begin, second - 1, address)
    entered.send(thread=thread, begin=begin, function=ctx.function, cpu=ctx.cpu, comm=ctx.comm,
                 a0=a0, a1=a1, a2=a2, a3=a3, a4=a4, a5=a5)
"""


@mp.function
def pick(place: Any, a0: Any, a1: Any, a2: Any, a3: Any, a4: Any, a5: Any) -> Any:
    """The argument at a place, counted from 1."""
    if place == 1:
        return a0
    if place == 2:
        return a1
    if place == 3:
        return a2
    if place == 4:
        return a3
    if place == 5:
        return a4
    return a5


class Probe:
    """The program and its maps: three streams of events, and the table by function."""

    def __init__(self, wanted: Filter, *, entries_only: bool, size: int) -> None:
        if entries_only and wanted.returned:
            raise UsageError("--entry sees no returns, which the filter asks for", hint="leave out --entry")
        self.entered = mp.Events(Entered, size=size)
        self.texts = mp.Events(Text, size=size)
        self.left = mp.Events(Left, size=size)
        self.table: Any = mp.PerFunction(mp.u32)
        self.when = "entry" if entries_only else "session"
        self.program = self._program(wanted)

    def _program(self, wanted: Filter) -> Any:
        texts = self.texts

        @mp.function
        def send_text(thread: Any, begin: Any, place: Any, address: Any) -> None:
            if address >= KERNEL_HALF:
                texts.send(thread=thread, begin=begin, place=place, text=mp.kernel_string(address))
            elif address:
                texts.send(thread=thread, begin=begin, place=place, text=mp.user_string(address))

        source = _SOURCE.format(
            returned=wanted.returned or "True",
            entry=wanted.entry or "True",
            unset="ctx.session = 0" if self.when == "session" else "pass",
            kept="ctx.session = begin" if self.when == "session" else "pass",
            registers=", ".join(f"registers.{name}" for name in SYSCALL_REGISTERS),
        )
        if self.when == "entry":
            source = source[:16] + source[source.index("    pass\n") :]
        file = f"<trace {abs(hash(source)):x}>"
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        names = {
            "mp": mp, "SYSCALL": SYSCALL, "pick": pick, "send_text": send_text, "table": self.table,
            "entered": self.entered, "texts": texts, "left": self.left,
        }  # fmt: skip
        try:
            exec(compile(source, file, "exec"), names)
        except SyntaxError as error:
            raise CompileError(f"the filter can't be compiled: {error.msg}") from error
        made: Any = names["trace"]
        return mp.program(made, when=self.when)

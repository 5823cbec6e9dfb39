"""The BPF program of the flight recorder: rings of records, one for each CPU, which overwrite the oldest.

Nothing is read while it records. When the condition holds, the program itself stops all rings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.arch import native
from multiprobe.errors import UsageError
from multiprobe.instruments.generated import make_generated
from multiprobe.instruments.trace.program import MAX_KEPT, POINTER, RESULT, SYSCALL
from multiprobe.kernel.btf.values import MAX_ERRNO

if TYPE_CHECKING:
    from multiprobe.compiler.program import Program
    from multiprobe.instruments.trace.filter import Filter

WORDS = 9
"""Words of 64 bits in a record. At the entry: time, function << 1, thread, six arguments. At the return: time,
function << 1 | 1, thread, time of the entry, returned value. The time is written last: until then it is 0."""
DEFAULT_RECORDS, MAX_RECORDS = 1 << 14, 1 << 20
"""Records of each CPU."""
ASKED = 1 << 63
"""In the session of a call: the part of the condition that is known at the entry holds."""
MAX_THREADS = 1 << 14


class Held(mp.Event):
    """The condition held: in the call of `function` by `thread` that began at `begin`."""

    time: mp.u64
    thread: mp.u64
    begin: mp.u64
    function: mp.u32


_SOURCE = """\
def record(ctx):
    if frozen[0]:
        return
    if ctx.is_return:
        mark = ctx.session
        begin = mark & MAX_POSITIVE
        if not begin:
            return
{result}        at = heads[0]
        heads[0] = at + 1
        at = (at & LAST) * WORDS
        ring[at] = 0
        ring[at + 1] = ctx.function << 1 | 1
        ring[at + 2] = thread
        ring[at + 3] = begin
        ring[at + 4] = ctx.ret
        ring[at] = end
{returned}        return
    how = table[ctx.function]
    if not how:
        return
    begin = ctx.time
    thread = mp.u64(ctx.ns_pid << 32 | mp.u32(ctx.ns_tid))
    a0 = ctx.arg(0)
    a1 = ctx.arg(1)
    a2 = ctx.arg(2)
    a3 = ctx.arg(3)
    a4 = ctx.arg(4)
    a5 = ctx.arg(5)
    if how & SYSCALL:
        registers = mp.cast("struct pt_regs *", a0)
        a0, a1, a2, a3, a4, a5 = {registers}
    at = heads[0]
    heads[0] = at + 1
    at = (at & LAST) * WORDS
    ring[at] = 0
    ring[at + 1] = ctx.function << 1
    ring[at + 2] = thread
    ring[at + 3] = a0
    ring[at + 4] = a1
    ring[at + 5] = a2
    ring[at + 6] = a3
    ring[at + 7] = a4
    ring[at + 8] = a5
    ring[at] = begin
    if (thread, ctx.comm) not in names:
        names[thread, ctx.comm] = begin
    ctx.session = begin
{entered}"""
_FREEZE = """\
if {condition}:
    frozen[0] = 1
    held.send(time=ctx.time, thread=thread, begin=begin, function=ctx.function)
"""
_CONSTANTS = {
    "ASKED": ASKED,
    "WORDS": WORDS,
    "SYSCALL": SYSCALL,
    "POINTER": POINTER,
    "MAX_ERRNO": MAX_ERRNO,
    "MAX_POSITIVE": (1 << 63) - 1,
}


class RecordProbe:
    """The program and its maps.

    ring: the records of each CPU; heads: how many each CPU has written; names: (thread, name) → when it was first seen
    held: the event that the condition held; frozen: 1 from then on; table: what `trace.program.tables` makes
    """

    def __init__(self, condition: Filter | None, *, records: int = DEFAULT_RECORDS) -> None:
        if not 2 <= records <= MAX_RECORDS:
            raise UsageError(f"invalid records={records}: expected 2 to {MAX_RECORDS:,} for each CPU")
        self.records = 1 << (records - 1).bit_length()
        self.ring = mp.Array(mp.u64, self.records * WORDS, per_cpu=True)
        self.heads = mp.Array(mp.u64, 1, per_cpu=True)
        self.names = mp.LruHash((mp.u64, mp.string(16)), mp.u64, MAX_THREADS)
        self.keep = mp.Hash((mp.u64, mp.u64, mp.u32), mp.u64, MAX_KEPT)
        self.table = mp.PerFunction(mp.u32)
        self.frozen = mp.Array(mp.u32, 1)
        self.held = mp.RingBuffer(Held, size=1 << 12)
        self.has_condition = condition is not None
        self.program = self._program(condition)

    def _program(self, condition: Filter | None) -> Program:
        entered, returned = ("", "") if condition is None else _conditions(condition)
        registers = ", ".join(f"registers.{name}" for name in native().system_call_arguments)
        source = _SOURCE.format(entered=entered, returned=returned, registers=registers, result=RESULT)
        names: dict[str, object] = _CONSTANTS | {
            "mp": mp, "LAST": self.records - 1, "ring": self.ring, "heads": self.heads, "names": self.names,
            "keep": self.keep, "table": self.table, "frozen": self.frozen, "held": self.held,
        }  # fmt: skip
        return make_generated("record", source, names, when="session", what="condition")


def _conditions(condition: Filter) -> tuple[str, str]:
    """The source that asks at the entry, and at the return."""
    if not condition.returned:
        return _indented(_FREEZE.format(condition=condition.entry or "True"), 4), ""
    keeping = [f"keep[thread, begin, {n}] = {code}" for n, code in enumerate(condition.kept)]
    asking = "\n    ".join(["ctx.session = begin | ASKED", *keeping])
    found = [_found(n, is_signed=n in condition.signed) for n in range(len(condition.kept))]
    known = " and ".join([*(f"is{n}" for n in range(len(found))), f"({condition.returned})"])
    freezing = _indented("".join(found) + _FREEZE.format(condition=known), 4)
    return _indented(f"if {condition.entry or 'True'}:\n    {asking}\n", 4), _indented(
        f"if mark & ASKED:\n{freezing}", 8
    )


def _found(n: int, *, is_signed: bool) -> str:
    kind = "i64" if is_signed else "u64"
    key = f"thread, begin, {n}"
    return f"kept{n} = mp.{kind}(keep[{key}])\nis{n} = ({key}) in keep\ndel keep[{key}]\n"


def _indented(text: str, n: int) -> str:
    return "".join(f"{' ' * n}{line}\n" for line in text.splitlines())

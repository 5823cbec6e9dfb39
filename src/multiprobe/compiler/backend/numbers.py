"""Arithmetic that BPF has no instruction for.

Knows how to emit code; must not know maps or the language.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprobe.compiler.backend.emitter import Emitter


def bit_length(e: Emitter, number: str) -> str:
    """How many bits a number takes, by halves: of the upper one if there is something in it, else of the lower one."""
    rest, bits = e.stack("i64"), e.stack("i64")
    e.store(rest, number)
    e.store(bits, "0")
    for half in (32, 16, 8, 4, 2, 1):
        upper, on = e.label("upper"), e.label("on")
        now = e.load(rest)
        e.branch(e.make(f"icmp uge i64 {now}, {1 << half}"), upper, on)
        e.begin(upper)
        # Opaque: LLVM would choose between two numbers instead of branching, which takes BPF a branch for each.
        e.store(rest, e.opaque(e.make(f"lshr i64 {now}, {half}")))
        e.store(bits, e.make(f"add i64 {e.load(bits)}, {half}"))
        e.begin(on)
    return e.make(f"add i64 {e.load(rest)}, {e.load(bits)}")

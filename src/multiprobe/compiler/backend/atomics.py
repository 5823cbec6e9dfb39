"""Atomic updates that the processor has no instruction for: the larger and the smaller of two numbers.

Knows how to emit code; must not know maps or the language.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.compiler.backend.contexts import count_if
from multiprobe.maps.layout import CUT_LOOPS

if TYPE_CHECKING:
    from multiprobe.compiler.backend.emitter import Emitter

EXTREMES = {"umax": "ugt", "smax": "sgt", "umin": "ult", "smin": "slt"}
"""Operations of `ir.Update`, and the comparison of a value with the present one that makes it the new one."""
TRIES = 8
"""Another try follows only where another CPU wrote to the same place since the last look."""


def replace_by_extreme(e: Emitter, comparison: str, pointer: str, value: str) -> None:
    """Store the 8 bytes of `value` at `pointer` if they compare so with what is there, in one atomic step.

    If that fails TRIES times, it is counted as a loop that was cut off.
    """
    end, seen = e.label("end"), e.load(pointer)
    for _ in range(TRIES):
        try_, again = e.label("try"), e.label("again")
        e.branch(e.make(f"icmp {comparison} i64 {value}, {seen}"), try_, end)
        e.begin(try_)
        pair = e.make(f"cmpxchg ptr {pointer}, i64 {seen}, i64 {value} monotonic monotonic, align 8")
        seen = e.make(f"extractvalue {{ i64, i1 }} {pair}, 0")
        e.branch(e.make(f"extractvalue {{ i64, i1 }} {pair}, 1"), end, again)
        e.begin(again)
    count_if(e, e.make(f"icmp {comparison} i64 {value}, {seen}"), CUT_LOOPS)
    e.begin(end)

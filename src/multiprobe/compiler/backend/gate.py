"""The head of a program that can be replaced while it is attached: is it this instance's turn, and who came by.

A replacement is attached beside the instance that it takes over from; each has a generation, and every CPU has a word
that says whose turn it is there (`maps.switch`). Hits are counted by function, whatever the program does with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.compiler.code import CONSTANT
from multiprobe.maps.layout import CACHE_LINE

if TYPE_CHECKING:
    from multiprobe.compiler.backend.contexts import HookContext
    from multiprobe.compiler.backend.emitter import Emitter


def pass_gate(e: Emitter, hook: HookContext, idle: str) -> None:
    """Go to `idle` unless this CPU's word is this instance's generation; then count the hit."""
    cpu = hook.read("cpu", 0)
    offset = hook.bounded(e.make(f"mul i64 {cpu}, {CACHE_LINE}"), "switch.limit")
    turn = e.load(e.at(e.map_value("switch"), offset))
    go = e.label("go")
    e.branch(e.make(f"icmp eq i64 {turn}, {e.hole(CONSTANT, 'generation')}"), go, idle)
    e.begin(go)
    row = e.make(f"mul i64 {cpu}, {e.hole(CONSTANT, 'hits.stride')}")
    number = hook.bounded(e.make(f"add i64 {row}, {hook.slot()}"), "hits.limit")
    counter = e.at(e.map_value("hits"), e.make(f"mul i64 {number}, 8"))
    e.store(counter, e.make(f"add i64 {e.load(counter)}, 1"))  # not atomic: rates are made of them, not results

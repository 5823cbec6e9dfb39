"""The head of every program: is the attachment active, and is this process one of those that are measured?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.compiler.code import CONSTANT
from multiprobe.maps.layout import ACTIVE, MAX_PIDS, OWN

if TYPE_CHECKING:
    from multiprobe.compiler.backend.contexts import HookContext
    from multiprobe.compiler.backend.emitter import Emitter


def pass_guards(e: Emitter, hook: HookContext, idle: str) -> None:
    """Go to `idle` unless the programs are active and run in this process."""
    shape = hook.shape
    _guard(e, e.make(f"icmp ne i64 {e.load(e.at(e.map_value('control'), ACTIVE))}, 0"), idle)
    if shape.has_pid:
        _guard(e, e.make(f"icmp eq i64 {hook.process()}, {e.hole(CONSTANT, 'pid')}"), idle)
    if shape.has_marks:
        _pass_marks(e, hook, idle)
    if shape.leaves_out_own:
        process, own = hook.process(), e.load(e.at(e.map_value("control"), OWN))
        _guard(e, e.make(f"icmp ne i64 {process}, {e.make(f'and i64 {own}, 4294967295')}"), idle)
        _guard(e, e.make(f"icmp ne i64 {process}, {e.make(f'lshr i64 {own}, 32')}"), idle)


def _guard(e: Emitter, test: str, idle: str) -> None:
    go = e.label("go")
    e.branch(test, go, idle)
    e.begin(go)


def _pass_marks(e: Emitter, hook: HookContext, idle: str) -> None:
    """Go on in marked processes. The id in a pid namespace is asked for only where the process's own has no mark."""
    is_marked = _is_marked(e, "marks", hook.read("pid", 0))
    if not hook.shape.is_in_namespace:
        _guard(e, is_marked, idle)
        return
    ask, go = e.label("ask"), e.label("go")
    e.branch(is_marked, go, ask)
    e.begin(ask)
    with e.maybe():
        e.branch(_is_marked(e, "named", hook.process()), go, idle)
    e.begin(go)


def _is_marked(e: Emitter, marks: str, process: str) -> str:
    index = e.make(f"and i64 {process}, {MAX_PIDS - 1}")
    return e.make(f"icmp ne i64 {e.load(e.at(e.map_value(marks), index), 1)}, 0")

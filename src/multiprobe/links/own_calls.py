"""Functions of the kernel that a program calls itself: the helpers and kfuncs in its instructions.

When all functions are probed, these are among them. Their probes are hit by the program itself, each time that it runs.
The kernel does not run a program inside a program: such a hit counts as missed, and takes as long as an empty probe.
`count '*'` by kprobe.multi would take twice its time so, and `latency '*'` several times. So what a pattern chose is
attached without them, each with its reason; a function that was asked for by its symbol is attached.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from multiprobe.binaries.mixed import kernel_part
from multiprobe.compiler.code import INSN_SIZE, KFUNC
from multiprobe.functions.sets import Refusal
from multiprobe.uapi.bpf import CALL, FuncId

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.compiler.code import Code
    from multiprobe.functions.table import FunctionTable
    from multiprobe.links.plan.plan import LinkPlan

CODE = "own_call"
_KINDS = ("kprobe_multi", "kprobe", "uprobe_multi", "tracing", "trace", "tp", "raw_tp", "pe")
"""Ends of the names of helpers that the kernel has once for each kind of program."""


def called_names(code: Code) -> set[str]:
    """Names that the kernel may have for the functions that the program calls."""
    found = {relocation.key.removeprefix("kfunc:") for relocation in code.relocations if relocation.kind == KFUNC}
    for start in range(0, len(code.insns), INSN_SIZE):
        opcode, registers = code.insns[start : start + 2]
        if opcode == CALL and not registers >> 4:  # the source register is 0 for a helper
            number = int.from_bytes(code.insns[start + 4 : start + 8], "little", signed=True)
            with suppress(ValueError):
                name = f"bpf_{FuncId(number).name.lower()}"
                found |= {name, *(f"{name}_{kind}" for kind in _KINDS)}
    return found


def own_calls(functions: AnyFunctionSet, codes: Iterable[Code]) -> set[int]:
    """The positions of the functions that a program calls, which has been compiled to `codes`."""
    first, chosen = kernel_part(functions)
    if chosen is None:
        return set()
    table = chosen.table
    rows = {row for code in codes for name in called_names(code) for row in _rows_of(table, name)}
    return {first + position for position, row in enumerate(chosen.rows) if row in rows} if rows else set()


def without_own_calls(chosen: AnyFunctionSet, plan: LinkPlan, codes: Iterable[Code]) -> tuple[LinkPlan, list[Refusal]]:
    """The plan without functions that its program calls, which is compiled to `codes`, and why each is left out."""
    called = own_calls(chosen, codes)
    planned = sorted(called.intersection(plan.planned)) if called else []
    return plan.without(planned), [refusal(chosen.label(position)) for position in planned]


def _rows_of(table: FunctionTable, name: str) -> Iterable[int]:
    return (row for row in table.rows_of_name(name) if not table.module(row))


def may_leave_out(functions: AnyFunctionSet) -> bool:
    """Whether they were chosen by patterns, not each by its symbol or address."""
    _, chosen = kernel_part(functions)
    return chosen is not None and chosen.positions is None


def refusal(label: str) -> Refusal:
    """Why such a function is left out."""
    reason = (
        f"{label} is called by the program itself, each time that it runs, and no program runs inside another: its "
        "probe would miss these calls, and slow down all others"
    )
    return Refusal(label, CODE, reason)

"""Functions of the kernel that a program calls itself: the helpers and kfuncs in its instructions, and what these call.

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
from multiprobe.links.helper_calls import called_by
from multiprobe.uapi.bpf import CALL, FuncId

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.compiler.code import Code
    from multiprobe.functions.table import FunctionTable
    from multiprobe.links.plan.plan import LinkPlan
    from multiprobe.maps.specs import MapSpec

CODE = "own_call"
_KINDS = ("kprobe_multi", "kprobe", "uprobe_multi", "tracing", "trace", "tp", "raw_tp", "pe", "recur")
"""Ends of the names of helpers that the kernel has once for each kind of program."""


def called_names(code: Code, maps: Mapping[str, MapSpec]) -> dict[str, str]:
    """Names that the kernel may have for the functions that the program calls, and for those that serve BPF alone and
    that its helpers call: these with the helper's name, the former with "".

    maps: the program's maps, by name
    """
    found = {relocation.key.removeprefix("kfunc:"): "" for relocation in code.relocations if relocation.kind == KFUNC}
    helpers = _helpers(code)
    for helper in helpers:
        name = _name(helper)
        found |= dict.fromkeys((name, *(f"{name}_{kind}" for kind in _KINDS)), "")
    specs = [maps[name] for name in code.maps]
    for helper in helpers:
        for name in called_by(helper, specs):
            found.setdefault(name, _name(helper))
    return found


def _helpers(code: Code) -> list[FuncId]:
    """The helpers that a program calls."""
    found = set()
    for start in range(0, len(code.insns), INSN_SIZE):
        opcode, registers = code.insns[start : start + 2]
        if opcode == CALL and not registers >> 4:  # the source register is 0 for a helper
            number = int.from_bytes(code.insns[start + 4 : start + 8], "little", signed=True)
            with suppress(ValueError):
                found.add(FuncId(number))
    return sorted(found)


def _name(helper: FuncId) -> str:
    return f"bpf_{helper.name.lower()}"


def own_calls(functions: AnyFunctionSet, codes: Iterable[Code], maps: Mapping[str, MapSpec]) -> dict[int, str]:
    """The positions of the functions that a program calls, which has been compiled to `codes`; of each the helper that
    calls it, or "".
    """
    first, chosen = kernel_part(functions)
    if chosen is None:
        return {}
    called: dict[str, str] = {}
    for code in codes:
        called = called_names(code, maps) | called
    rows = {
        row: helper for name, helper in called.items() for row in _rows_of(chosen.table, name, has_parts=bool(helper))
    }
    return {first + position: rows[row] for position, row in enumerate(chosen.rows) if row in rows} if rows else {}


def without_own_calls(
    chosen: AnyFunctionSet, plan: LinkPlan, codes: Iterable[Code], maps: Mapping[str, MapSpec]
) -> tuple[LinkPlan, list[Refusal]]:
    """The plan without functions that its program calls, and why each is left out.

    codes: what the program is compiled to; maps: its maps, by name
    """
    called = own_calls(chosen, codes, maps)
    planned = sorted(called.keys() & set(plan.planned)) if called else []
    return plan.without(planned), [refusal(chosen.label(position), called[position]) for position in planned]


def _rows_of(table: FunctionTable, name: str, *, has_parts: bool) -> Iterable[int]:
    """The functions called `name`; has_parts: and what a compiler made of a static one ("name.part.0")."""
    rows = table.rows_of_name(name)
    if has_parts:
        rows += table.rows_of_prefix(f"{name}.".encode())
    return (row for row in rows if not table.module(row))


def may_leave_out(functions: AnyFunctionSet) -> bool:
    """Whether they were chosen by patterns, not each by its symbol or address."""
    _, chosen = kernel_part(functions)
    return chosen is not None and chosen.positions is None


def refusal(label: str, helper: str) -> Refusal:
    """Why such a function is left out; `helper`: who calls it for the program, or ""."""
    caller = f"{helper}, which the program calls" if helper else "the program itself, each time that it runs"
    reason = (
        f"{label} is called by {caller}, and no program runs inside another: its probe would miss these calls, and "
        "slow down all others"
    )
    return Refusal(label, CODE, reason)

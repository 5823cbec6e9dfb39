"""The signatures of attached functions: from the kernel's types; of functions of binaries, the argument registers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.binaries.mixed import parts_of
from multiprobe.functions.kernel import Kernel
from multiprobe.functions.sets import FunctionSet
from multiprobe.kernel.btf.values import UNKNOWN, Signature, ValueType, signature

if TYPE_CHECKING:
    from multiprobe.binaries.mixed import AnyFunctionSet

N_REGISTERS = 6
OF_BINARIES = Signature(tuple((f"arg{n}", ValueType("raw")) for n in range(N_REGISTERS)), ValueType("raw"))
"""Of a function without types: the registers in which it may have arguments, and the one in which it returns."""


def signatures(functions: AnyFunctionSet) -> list[Signature]:
    """The signature of each function; UNKNOWN for functions of the kernel without type information."""
    return [one for part in parts_of(functions) for one in _of_part(part)]


def _of_part(part: AnyFunctionSet) -> list[Signature]:
    if not isinstance(part, FunctionSet):
        return [OF_BINARIES] * len(part)
    return [signature_of(part, position) for position in range(len(part))]


def signature_of(functions: FunctionSet, position: int) -> Signature:
    """The signature of the kernel's function at this position."""
    table, row = functions.table, functions.rows[position]
    type_id = table.btf_ids[row]
    btf = Kernel.of(functions.table).btf_of(table.module(row)) if type_id else None
    return UNKNOWN if btf is None else signature(btf, type_id)

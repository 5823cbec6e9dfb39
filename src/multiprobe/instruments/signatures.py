"""The signatures of attached functions: from the kernel's types; of functions of binaries, from theirs where they were
read, else the argument registers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from multiprobe.binaries.mixed import parts_of
from multiprobe.binaries.sets import UserFunctionSet
from multiprobe.functions.kernel import Kernel
from multiprobe.functions.sets import FunctionSet
from multiprobe.kernel.btf.values import UNKNOWN, Signature, ValueType, signature, value_type

if TYPE_CHECKING:
    from multiprobe.binaries.calling import Place
    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.binaries.prototypes import Prototype
    from multiprobe.kernel.btf.types import Btf

N_REGISTERS = 6
OF_BINARIES = Signature(tuple((f"arg{n}", ValueType("raw")) for n in range(N_REGISTERS)), ValueType("raw"))
"""Of a function without types: the registers in which it may have arguments, and the one in which it returns."""


def signatures(functions: AnyFunctionSet) -> list[Signature]:
    """The signature of each function; UNKNOWN for functions of the kernel without type information."""
    return [one for part in parts_of(functions) for one in _of_part(part)]


def _of_part(part: AnyFunctionSet) -> list[Signature]:
    if isinstance(part, UserFunctionSet):
        types = part.table.types
        return [
            OF_BINARIES
            if types is None or prototype is None
            else prototype_signature(types.btf, prototype, most=N_REGISTERS)
            for prototype in part.prototypes()
        ]
    if not isinstance(part, FunctionSet):
        raise TypeError(part)
    return [signature_of(part, position) for position in range(len(part))]


def prototype_signature(btf: Btf, prototype: Prototype, *, most: int) -> Signature:
    """The signature of a binary's function, of the first `most` arguments. What can't be read says why."""
    parameters: list[tuple[str, ValueType]] = []
    places: list[int | None] = []
    words: dict[int, tuple[int | None, ...]] = {}
    for n, (one, place) in enumerate(zip(btf.parameters(prototype.type_id), prototype.places, strict=False)):
        if place.position is None or place.position < most:
            if any(at is not None and at < most for at in place.words):
                words[len(parameters)] = tuple(at if at is not None and at < most else None for at in place.words)
            parameters.append((one.name or f"arg{n}", _value(btf, one.type_id, place)))
            places.append(place.position)
    returned = btf.target(btf.target(prototype.type_id))
    return Signature(tuple(parameters), _value(btf, returned, prototype.result), places=tuple(places), words=words)


def _value(btf: Btf, type_id: int, place: Place) -> ValueType:
    if place.reason:
        return ValueType("unreadable", reason=place.reason, is_kernel=False)
    return replace(value_type(btf, type_id), is_kernel=False, may_be_errno=False)


def signature_of(functions: FunctionSet, position: int) -> Signature:
    """The signature of the kernel's function at this position."""
    table, row = functions.table, functions.rows[position]
    type_id = table.btf_ids[row]
    btf = Kernel.of(functions.table).btf_of(table.module(row)) if type_id else None
    return UNKNOWN if btf is None else signature(btf, type_id)

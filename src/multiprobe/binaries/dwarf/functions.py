"""Reads a function's entry: its prototype, and what DWARF says about where its parameters are when it begins.

The places themselves are found by `binaries.calling`, from the prototype, the calling convention and this evidence.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from multiprobe.binaries.dwarf.conversion import MAX_MEMBERS
from multiprobe.binaries.dwarf.entries import (
    CPLUSPLUS,
    RUST,
    C,
    is_set,
    language,
    name_of,
    number,
    origins,
    producer,
    referred,
)
from multiprobe.binaries.dwarf.units import RECORDS, code_ranges
from multiprobe.kernel.btf import format as fmt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from multiprobe.binaries.dwarf.conversion import Converter
    from multiprobe.binaries.dwarf.entries import DwarfData, DwarfEntry

VALUE, REFERENCE, UNSURE = "value", "reference", "unsure"
"""How a parameter or result is passed: as C passes it; as a pointer to it; or neither is certain."""
MAX_PARAMETERS = 255
_MAX_NESTED = 8
_REG0, _REGX, _FBREG, _CALL_FRAME_CFA = 0x50, 0x90, 0x91, 0x9C
_NORMAL, _BY_REFERENCE, _BY_VALUE = 1, 4, 5
_MODIFIERS = ("DW_TAG_typedef", "DW_TAG_const_type", "DW_TAG_volatile_type", "DW_TAG_atomic_type")


@dataclass(frozen=True, slots=True)
class ParameterEvidence:
    """passing: VALUE, REFERENCE or UNSURE

    register: by its number in DWARF, if a list of locations says that it is there when the function begins
    stack: bytes from the first argument on the stack, if it is said to be there
    is_elsewhere: something else is said about the place at the entry
    is_stored: it is in the function's frame all the time: code that is not optimised stores it there
    """

    passing: str = VALUE
    register: int | None = None
    stack: int | None = None
    is_elsewhere: bool = False
    is_stored: bool = False


@dataclass(frozen=True, slots=True)
class FunctionEvidence:
    """type_id: of the function; parameters: in the order of its prototype

    is_regular: the source language passes arguments as C does, and nothing is said of another convention
    is_external: other files can call it; is_gnu: it was compiled by gcc
    result: how the result is passed
    """

    type_id: int
    parameters: tuple[ParameterEvidence, ...]
    is_regular: bool
    is_external: bool
    is_gnu: bool
    result: str

    @classmethod
    def of_json(cls, found: dict[str, Any]) -> FunctionEvidence:
        """Back from a JSON object. Raises TypeError or KeyError for one that is none of these."""
        parameters = tuple(ParameterEvidence(**one) for one in found["parameters"])
        return cls(**found | {"parameters": parameters})

    def to_json(self) -> dict[str, object]:
        """As a JSON object."""
        return asdict(self)


def read_function(dwarf: DwarfData, converter: Converter, entry: DwarfEntry, address: int) -> FunctionEvidence:
    """What an entry says about its function, which begins at an address."""
    parameters = list(_parameters(entry))[:MAX_PARAMETERS]
    writer = converter.writer
    typed = [(name_of(one), converter.type_id(referred(one))) for one, _ in parameters]
    if any(child.tag == "DW_TAG_unspecified_parameters" for one in origins(entry) for child in one.iter_children()):
        typed.append(("", 0))
    returned = referred(entry)
    prototype = writer.prototype(converter.type_id(returned), typed)
    of_cfa = _frame_is_cfa(entry)
    convention = next((n for one in origins(entry) if (n := number(one, "DW_AT_calling_convention"))), _NORMAL)
    return FunctionEvidence(
        type_id=writer.reference(fmt.FUNC, prototype, name_of(entry) or f"{address:#x}"),
        parameters=tuple(_evidence(dwarf, one, place, address, of_cfa=of_cfa) for one, place in parameters),
        is_regular=language(entry) in C | CPLUSPLUS | RUST and convention == _NORMAL,
        is_external=any(is_set(one, "DW_AT_external") for one in origins(entry)),
        is_gnu=producer(entry).startswith(b"GNU "),
        result=VALUE if returned is None else passing(returned, entry),
    )


def _parameters(entry: DwarfEntry) -> Iterator[tuple[DwarfEntry, DwarfEntry | None]]:
    """Each parameter in order, and the entry that says where it is: a concrete function may leave out some."""
    own = [child for child in entry.iter_children() if child.tag == "DW_TAG_formal_parameter"]
    origin = entry.attributes.get("DW_AT_abstract_origin")
    if origin is None:
        yield from ((one, one) for one in own)
        return
    abstract = entry.get_DIE_from_attribute("DW_AT_abstract_origin")
    placed = {id(one.dwarfinfo): {} for one in (abstract,)}  # type: dict[int, dict[int, DwarfEntry]]
    for one in own:
        if "DW_AT_abstract_origin" in one.attributes:
            target = one.get_DIE_from_attribute("DW_AT_abstract_origin")
            placed.setdefault(id(target.dwarfinfo), {})[target.offset] = one
    for one in abstract.iter_children():
        if one.tag == "DW_TAG_formal_parameter":
            yield one, placed[id(one.dwarfinfo)].get(one.offset)


def _evidence(
    dwarf: DwarfData, entry: DwarfEntry, placed: DwarfEntry | None, address: int, *, of_cfa: bool
) -> ParameterEvidence:
    target = referred(entry)
    how = UNSURE if target is None else passing(target, entry)
    location = placed.attributes.get("DW_AT_location") if placed is not None else None
    if placed is None or location is None:
        return ParameterEvidence(how)
    if isinstance(location.value, list):  # one for the whole function: not always true of its first instruction
        offset = _fbreg(location.value)
        is_stack = of_cfa and offset is not None and offset >= 0
        return ParameterEvidence(how, stack=offset if is_stack else None, is_stored=offset is not None and not is_stack)
    code = _at_entry(dwarf, placed, location.value, address)
    if code is None:
        return ParameterEvidence(how)
    if len(code) == 1 and _REG0 <= code[0] < _REG0 + 32:
        return ParameterEvidence(how, register=code[0] - _REG0)
    offset = _fbreg(code) if of_cfa else None
    return ParameterEvidence(how, stack=offset if offset is not None and offset >= 0 else None,
                             is_elsewhere=offset is None or offset < 0)  # fmt: skip


def _at_entry(dwarf: DwarfData, entry: DwarfEntry, offset: object, address: int) -> Sequence[int] | None:
    """The location that a list gives for the function's first instruction."""
    lists = dwarf.location_lists()
    if lists is None or not isinstance(offset, int):
        return None
    ranges = code_ranges(dwarf, entry.cu.get_top_DIE(), dwarf.range_lists())
    base = number(entry.cu.get_top_DIE(), "DW_AT_low_pc")
    base = base if base is not None else ranges[0][0] if ranges else 0
    for one in lists.get_location_list_at_offset(offset, die=entry):
        if hasattr(one, "base_address"):
            base = one.base_address
        elif hasattr(one, "loc_expr") and hasattr(one, "begin_offset"):
            start = 0 if one.is_absolute else base
            if start + one.begin_offset <= address < start + one.end_offset:
                return list(one.loc_expr)
    return None


def _fbreg(code: Sequence[int]) -> int | None:
    """The offset of a place relative to the frame base, if the expression is nothing else."""
    if not 2 <= len(code) <= 10 or code[0] != _FBREG:
        return None
    if any(byte < 0x80 for byte in code[1:-1]) or code[-1] >= 0x80:
        return None
    found = sum((byte & 0x7F) << 7 * n for n, byte in enumerate(code[1:]))
    bits = 7 * (len(code) - 1)
    return found - (1 << bits) if found >> bits - 1 else found


def _frame_is_cfa(entry: DwarfEntry) -> bool:
    """Whether the frame base is where the caller's stack ends: the arguments on the stack begin there."""
    base = entry.attributes.get("DW_AT_frame_base")
    return base is not None and base.value == [_CALL_FRAME_CFA]


def passing(target: DwarfEntry, user: DwarfEntry) -> str:
    """How a value of a type is passed, as far as its language may do otherwise than C: `user` is in that language."""
    spoken = language(user)
    return _passing(target, spoken, 0)


def _passing(target: DwarfEntry, spoken: int, depth: int) -> str:
    for _ in range(_MAX_NESTED):
        if target.tag not in _MODIFIERS:
            break
        found = referred(target)
        if found is None:
            return VALUE
        target = found
    if target.tag == "DW_TAG_array_type" and depth:  # a member
        element = referred(target)
        return UNSURE if element is None or depth > _MAX_NESTED else _passing(element, spoken, depth + 1)
    if target.tag == "DW_TAG_ptr_to_member_type":
        return UNSURE
    if target.tag not in RECORDS:
        return VALUE
    convention = number(target, "DW_AT_calling_convention")
    if convention == _BY_REFERENCE:
        return REFERENCE
    if spoken in RUST or depth > _MAX_NESTED or "DW_AT_alignment" in target.attributes:
        return UNSURE
    if is_set(target, "DW_AT_declaration"):
        return UNSURE
    return _of_members(target, spoken, depth, is_plain=spoken in C or convention == _BY_VALUE)


def _of_members(target: DwarfEntry, spoken: int, depth: int, *, is_plain: bool) -> str:
    for n, child in enumerate(target.iter_children()):
        if n == MAX_MEMBERS or "DW_AT_alignment" in child.attributes:
            return UNSURE
        if child.tag != "DW_TAG_member":
            if not is_plain and child.tag in ("DW_TAG_subprogram", "DW_TAG_inheritance"):
                return UNSURE  # it may have a copy constructor or a destructor, and then comes by reference
            if child.tag == "DW_TAG_inheritance":
                return UNSURE
            continue
        member = referred(child)
        if member is None or (_passing(member, spoken, depth + 1) != VALUE and not _is_pointer(member)):
            return UNSURE
    return VALUE


def _is_pointer(target: DwarfEntry) -> bool:
    return target.tag in ("DW_TAG_pointer_type", "DW_TAG_reference_type", "DW_TAG_rvalue_reference_type")

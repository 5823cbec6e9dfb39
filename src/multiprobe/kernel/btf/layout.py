"""Where the members of C structs lie in memory, and what kind of number a type is, from BTF. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from multiprobe.arch import native
from multiprobe.errors import DataError
from multiprobe.kernel.btf import format as fmt
from multiprobe.kernel.btf.spelling import integer_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from multiprobe.kernel.btf.records import TypeRecords

RECORDS = (fmt.STRUCT, fmt.UNION)
_SIGNED, _BOOL = 1, 4  # BTF_INT_ENCODING


class Scalar(NamedTuple):
    """An integer, an enum or a truth value of `size` bytes."""

    size: int
    is_signed: bool
    is_bool: bool = False


class StructField(NamedTuple):
    """A member of a struct or union, seen from its start. `bits` is 0 unless it is a bit field."""

    name: str
    type_id: int
    bit_offset: int
    bits: int = 0

    @property
    def offset(self) -> int:
        """In bytes; that of its first byte for a bit field."""
        return self.bit_offset // 8


def scalar(btf: TypeRecords, type_id: int) -> Scalar | None:
    """What kind of integer a type is, or None if it is none."""
    bare = btf.strip(type_id)
    kind = btf.kind(bare)
    owner, row = btf.owner(bare)
    if kind == fmt.INT:
        encoding = owner.int_word(row) >> 24
        # BTF says of `signed char` as little as of `char`, on some kernels
        is_signed = bool(encoding & _SIGNED) or integer_name(btf.name(bare)) == "signed char"
        return Scalar(btf.size(bare), is_signed, is_bool=bool(encoding & _BOOL))
    if kind in (fmt.ENUM, fmt.ENUM64):
        return Scalar(btf.size(bare), bool(owner.flags[row]))
    return None


def is_record(btf: TypeRecords, type_id: int) -> bool:
    """Whether a type is a struct or union that has members."""
    return btf.kind(btf.strip(type_id)) in RECORDS


def first_slot(btf: TypeRecords, function: int) -> int:
    """The argument register of a function's first parameter: 1 where register 0 holds the address of the result.

    A struct of more than 16 bytes is returned in memory that the caller provides. Its address comes in the first
    argument register on x86-64 (System V ABI, 3.2.3), in a register of its own on aarch64.
    """
    if not native().registers.has_result_argument:
        return 0
    returned = btf.target(btf.target(function)) if btf.kind(function) == fmt.FUNC else btf.target(function)
    return int(is_record(btf, returned) and btf.size(returned) > fmt.BIG_STRUCT)


def own_fields(btf: TypeRecords, type_id: int) -> Iterator[StructField]:
    """The members of a struct or union as C declares them; a bit field of the old encoding like one of the new."""
    for member in btf.members(type_id):
        bit_offset, bits = member.bit_offset, member.bits
        bare = btf.strip(member.type_id)
        if not bits and btf.kind(bare) == fmt.INT:
            owner, row = btf.owner(bare)
            word = owner.int_word(row)
            if word & 0xFF != 8 * btf.size(bare):
                bits, bit_offset = word & 0xFF, bit_offset + (word >> 16 & 0xFF)
        yield StructField(member.name, member.type_id, bit_offset, bits)


def fields(btf: TypeRecords, type_id: int, *, base: int = 0, depth: int = 0) -> Iterator[StructField]:
    """The members of a struct or union, those of its unnamed members in their place."""
    if depth > fmt.MAX_DEPTH:
        raise DataError(f"BTF type {type_id}: structures in each other without end")
    for field in own_fields(btf, type_id):
        if field.name or not is_record(btf, field.type_id):
            if field.name:
                yield StructField(field.name, field.type_id, base + field.bit_offset, field.bits)
        else:
            yield from fields(btf, field.type_id, base=base + field.bit_offset, depth=depth + 1)

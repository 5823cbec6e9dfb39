"""Turns the types of DWARF into BTF, those that are asked for and all that they refer to.

What is downstream then reads the types of programs as it reads those of the kernel. Integers have the names of C;
another language's name for one (`u32`) becomes a typedef of it. Base classes become unnamed members.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from multiprobe.binaries.dwarf.entries import C, is_set, language, number, own_name, referred
from multiprobe.binaries.dwarf.units import RECORDS
from multiprobe.kernel.btf import format as fmt
from multiprobe.kernel.btf.spelling import INTEGER_WORDS
from multiprobe.kernel.btf.writer import BOOL, SIGNED, BtfWriter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from multiprobe.binaries.dwarf.entries import DwarfEntry
    from multiprobe.binaries.dwarf.units import Units

    Member = tuple[str, int, int, int]

MAX_RECORDS = 20_000
"""Structs beyond these, which are farther from the functions, become declarations."""
MAX_MEMBERS = 10_000
MAX_CHAIN = 24
"""The most pointers, qualifiers and typedefs in a row."""
MAX_RESOLVED = 64
"""The most names of declared structs whose definitions are looked for in other units."""
_REFERENCES = {
    "DW_TAG_pointer_type": fmt.PTR,
    "DW_TAG_reference_type": fmt.PTR,
    "DW_TAG_rvalue_reference_type": fmt.PTR,
    "DW_TAG_const_type": fmt.CONST,
    "DW_TAG_volatile_type": fmt.VOLATILE,
    "DW_TAG_restrict_type": fmt.RESTRICT,
    "DW_TAG_typedef": fmt.TYPEDEF,
}
_TRANSPARENT = ("DW_TAG_atomic_type", "DW_TAG_immutable_type", "DW_TAG_packed_type", "DW_TAG_shared_type")
_BOOLEAN, _COMPLEX, _FLOAT, _SIGNED, _SIGNED_CHAR, _UNSIGNED, _UNSIGNED_CHAR = range(2, 9)
_FLOATS = (_COMPLEX, _FLOAT, 0x09, 0x0F)
_SIGNS = (_SIGNED, _SIGNED_CHAR)
_C_NAMES = {
    (1, True): "signed char", (1, False): "unsigned char", (2, True): "short", (2, False): "unsigned short",
    (4, True): "int", (4, False): "unsigned int", (8, True): "long", (8, False): "unsigned long",
    (16, True): "__int128", (16, False): "unsigned __int128",
}  # fmt: skip
_PLUS_UCONST = 0x23


class Converter:
    """Makes BTF of entries; `finish` must be called once, after the last question."""

    def __init__(self, units: Units) -> None:
        self.writer = BtfWriter()
        self._units = units
        self._ids: dict[tuple[int, int], int] = {}
        self._records: dict[tuple[object, ...], list[tuple[tuple[Member, ...] | None, int]]] = {}
        self._waiting: deque[tuple[DwarfEntry, int]] = deque()
        self._declared: dict[tuple[str, str], int] = {}
        self._unnamed: dict[int, list[int]] = {}
        self._filled: dict[int, tuple[str, bool]] = {}
        self._n_records = 0
        self._n_resolved = 0

    def type_id(self, entry: DwarfEntry | None, depth: int = 0) -> int:
        """The id of the type of an entry; 0, void, for none, and for what C has no word for."""
        if entry is None or depth > MAX_CHAIN:
            return 0
        key = (id(entry.dwarfinfo), entry.offset)
        if key not in self._ids:
            if entry.tag in RECORDS:
                self._ids[key] = self._record(entry)
            else:
                self._ids[key] = 0  # in a circle, the type itself
                self._ids[key] = self._other(entry, depth)
        return self._ids[key]

    def finish(self) -> bytes:
        """The BTF, with everything that was referred to."""
        while self._waiting:
            entry, type_id = self._waiting.popleft()
            self._fill(entry, type_id)
        counts: dict[int, int] = {}
        for type_id, (name, is_union) in self._filled.items():
            if self._count(type_id, counts, 0) > MAX_MEMBERS:
                self.writer.fill_forward(type_id, name or "(unnamed)", is_union=is_union)
        return bytes(self.writer)

    def _count(self, type_id: int, counts: dict[int, int], depth: int) -> int:
        """How many structs a struct is made of, by unnamed members: they multiply in a hostile file, or never end."""
        if type_id not in counts:
            counts[type_id] = MAX_MEMBERS + 1  # within itself
            parts = self._unnamed.get(type_id, ()) if depth < MAX_CHAIN else [type_id]
            counts[type_id] = min(1 + sum(self._count(one, counts, depth + 1) for one in parts), MAX_MEMBERS + 1)
        return counts[type_id]

    # Types without members

    def _other(self, entry: DwarfEntry, depth: int) -> int:
        if entry.tag in _REFERENCES:
            kind = _REFERENCES[entry.tag]
            name = own_name(entry) if kind == fmt.TYPEDEF else ""
            return self.writer.reference(kind, self.type_id(referred(entry), depth + 1), name)
        if entry.tag in _TRANSPARENT:
            return self.type_id(referred(entry), depth + 1)
        if entry.tag == "DW_TAG_base_type":
            return self._base(entry)
        if entry.tag == "DW_TAG_enumeration_type":
            return self._enum(entry)
        if entry.tag == "DW_TAG_array_type":
            return self._array(entry, depth)
        if entry.tag == "DW_TAG_subroutine_type":
            return self._subroutine(entry, depth)
        if entry.tag == "DW_TAG_ptr_to_member_type":  # of data one word, of functions two
            target = referred(entry)
            is_function = target is not None and target.tag == "DW_TAG_subroutine_type"
            long = self.writer.integer("long", 8, SIGNED)
            return self.writer.array(long, 2, long) if is_function else long
        if entry.tag == "DW_TAG_unspecified_type" and "nullptr" in own_name(entry):
            return self.writer.reference(fmt.PTR, 0)
        return 0

    def _base(self, entry: DwarfEntry) -> int:
        size, encoding, name = number(entry, "DW_AT_byte_size") or 0, number(entry, "DW_AT_encoding"), own_name(entry)
        if not 0 < size <= 64:
            return 0
        if encoding in _FLOATS:
            return self.writer.floating(name or "float", size)
        if encoding == _BOOLEAN:
            return self.writer.integer("_Bool", size, BOOL)
        if size > 16:
            return 0
        is_signed = encoding in _SIGNS
        made = self.writer.integer(
            name if INTEGER_WORDS.issuperset(name.split()) and name else _C_NAMES.get((size, is_signed), "int"),
            size,
            SIGNED * is_signed,
        )
        if INTEGER_WORDS.issuperset(name.split()):
            return made
        return self.writer.reference(fmt.TYPEDEF, made, name)

    def _enum(self, entry: DwarfEntry) -> int:
        size = number(entry, "DW_AT_byte_size") or 4
        names: list[tuple[str, int]] = []
        for child in entry.iter_children():
            value = number(child, "DW_AT_const_value")
            if child.tag == "DW_TAG_enumerator" and value is not None and len(names) < MAX_MEMBERS:
                names.append((own_name(child), value))
        base = referred(entry)
        encoding = number(base, "DW_AT_encoding") if base is not None and base.tag == "DW_TAG_base_type" else None
        is_signed = encoding in _SIGNS if encoding is not None else any(value < 0 for _, value in names)
        if not 0 < size <= 8:
            return 0
        return self.writer.enum(own_name(entry), size, names, is_signed=is_signed)

    def _array(self, entry: DwarfEntry, depth: int) -> int:
        if is_set(entry, "DW_AT_GNU_vector"):
            return self.writer.floating("vector", self._vector_size(entry))
        counts = []
        for child in entry.iter_children():
            if child.tag in ("DW_TAG_subrange_type", "DW_TAG_generic_subrange"):
                count, upper = number(child, "DW_AT_count"), number(child, "DW_AT_upper_bound")
                counts.append(max(0, count if count is not None else -1 if upper is None else upper + 1))
        made, index = self.type_id(referred(entry), depth + 1), self.writer.integer("int", 4, SIGNED)
        for count in reversed(counts[:8] or [0]):
            made = self.writer.array(made, min(count, (1 << 32) - 1), index)
        return made

    def _vector_size(self, entry: DwarfEntry) -> int:
        size = number(entry, "DW_AT_byte_size")
        if size is not None:
            return min(max(size, 1), 64)
        element, n = referred(entry), 1
        for child in entry.iter_children():
            upper = number(child, "DW_AT_upper_bound")
            n *= 1 if upper is None else upper + 1
        return min(max((number(element, "DW_AT_byte_size") or 1) * n, 1), 64) if element else 16

    def _subroutine(self, entry: DwarfEntry, depth: int) -> int:
        parameters = [("", self.type_id(referred(one), depth + 1)) for one in _parameters(entry)]
        if any(one.tag == "DW_TAG_unspecified_parameters" for one in entry.iter_children()):
            parameters.append(("", 0))
        return self.writer.prototype(self.type_id(referred(entry), depth + 1), parameters)

    # Structs and unions

    def _record(self, entry: DwarfEntry) -> int:
        word, name = RECORDS[entry.tag], self.qualified(entry)
        if is_set(entry, "DW_AT_declaration") or self._n_records >= MAX_RECORDS:
            return self._declaration(entry, word, name)
        size, line = number(entry, "DW_AT_byte_size") or 0, number(entry, "DW_AT_decl_line")
        if name:
            shape = tuple(_shape(entry))
            alike = self._records.setdefault((word, name, size, line), [])
            for known, type_id in alike:
                if known == shape:
                    return type_id
            alike.append((shape, len(self.writer) + 1))
        self._n_records += 1
        type_id = self.writer.reserve()
        self._waiting.append((entry, type_id))
        return type_id

    def _declaration(self, entry: DwarfEntry, word: str, name: str) -> int:
        """A struct that this unit only declares: its definition in another one, if there is one."""
        key = (word, name)
        if key not in self._declared:
            if "DW_AT_signature" in entry.attributes:
                return self.type_id(entry.get_DIE_from_attribute("DW_AT_signature"))
            self._declared[key] = type_id = self.writer.reserve()
            self._waiting.append((entry, type_id))
        return self._declared[key]

    def _fill(self, entry: DwarfEntry, type_id: int) -> None:
        name = self.qualified(entry)
        if is_set(entry, "DW_AT_declaration"):
            found = None
            if name and self._n_resolved < MAX_RESOLVED and self._n_records < MAX_RECORDS:
                self._n_resolved += 1
                found = self._units.type((RECORDS[entry.tag],), name)
            if found is None:
                is_union = entry.tag == "DW_TAG_union_type"
                self.writer.fill_forward(type_id, name or "(unnamed)", is_union=is_union)
                return
            entry = found
        size = number(entry, "DW_AT_byte_size") or 0
        is_union = entry.tag == "DW_TAG_union_type"
        members = list(self._members(entry, is_union=is_union))
        self._unnamed[type_id] = [target for text, target, _, _ in members if not text]
        self._filled[type_id] = (name, is_union)
        self.writer.fill_record(type_id, name, min(size, (1 << 32) - 1), members, is_union=is_union)

    def _members(self, entry: DwarfEntry, *, is_union: bool) -> Iterator[Member]:
        for n, child in enumerate(entry.iter_children()):
            if n == MAX_MEMBERS:
                return
            if child.tag not in ("DW_TAG_member", "DW_TAG_inheritance") or _is_static(child):
                continue
            offset = 0 if is_union else _member_offset(child)
            if offset is None:  # of a virtual base class
                continue
            name = own_name(child) if child.tag == "DW_TAG_member" else ""
            target = referred(child)
            if not name and (target is None or target.tag not in RECORDS):
                continue
            bits = number(child, "DW_AT_bit_size") or 0
            yield name, self.type_id(target), _bit_offset(child, 8 * offset, target) if bits else 8 * offset, bits

    def qualified(self, entry: DwarfEntry) -> str:
        """The name of a type, with its namespaces and classes."""
        name = own_name(entry)
        if not name or language(entry) in C:
            return name
        names = [name]
        parent = entry.get_parent()
        while parent is not None and parent.tag in ("DW_TAG_namespace", "DW_TAG_module", *RECORDS) and len(names) < 32:
            names.append(own_name(parent) or "(anonymous)")
            parent = parent.get_parent()
        return "::".join(reversed(names))


def _parameters(entry: DwarfEntry) -> Iterator[DwarfEntry]:
    return (child for child in entry.iter_children() if child.tag == "DW_TAG_formal_parameter")


def _shape(entry: DwarfEntry) -> Iterator[Member]:
    """What tells two definitions of a name apart: names and offsets of the members."""
    for n, child in enumerate(entry.iter_children()):
        if child.tag == "DW_TAG_member" and n < MAX_MEMBERS:
            bits = number(child, "DW_AT_bit_size") or 0
            yield own_name(child), 0, _member_offset(child) or 0, bits


def _is_static(member: DwarfEntry) -> bool:
    return is_set(member, "DW_AT_external") or is_set(member, "DW_AT_declaration")


def _member_offset(member: DwarfEntry) -> int | None:
    """Where a member begins, in bytes; None if only running code knows."""
    value = member.attributes.get("DW_AT_data_member_location")
    if value is None:
        return 0
    if isinstance(value.value, int):
        return value.value
    if isinstance(value.value, list) and value.value[:1] == [_PLUS_UCONST]:
        code: list[int] = value.value[1:10]
        return sum((byte & 0x7F) << 7 * n for n, byte in enumerate(code))
    return None


def _bit_offset(member: DwarfEntry, base: int, target: DwarfEntry | None) -> int:
    """Where a bit field begins, in bits: as of DWARF 4 counted from the struct's start, before from the upper end."""
    found = number(member, "DW_AT_data_bit_offset")
    if found is not None:
        return found
    upper = number(member, "DW_AT_bit_offset")
    if upper is None:
        return base
    size = number(member, "DW_AT_byte_size")
    for _ in range(MAX_CHAIN):
        if size is not None or target is None:
            break
        size, target = number(target, "DW_AT_byte_size"), referred(target)
    return base + 8 * (size or 0) - upper - (number(member, "DW_AT_bit_size") or 0)

"""Finds the units of .debug_info that describe functions at some addresses, or types of some names.

Ranges of code come from the units' first entries; names are looked for as bytes, so that the entries of a unit are
parsed only if the name is in it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from struct import Struct
from typing import TYPE_CHECKING

from multiprobe.binaries.dwarf.entries import is_set, number, own_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from multiprobe.binaries.dwarf.entries import CompileUnit, DwarfData, DwarfEntry, RangeLists

RECORDS = {"DW_TAG_structure_type": "struct", "DW_TAG_class_type": "struct", "DW_TAG_union_type": "union"}
"""The entries that become a struct or union."""
_NAMED = {**RECORDS, "DW_TAG_enumeration_type": "enum", "DW_TAG_typedef": "typedef"}
_CONTAINERS = ("DW_TAG_namespace", "DW_TAG_module", *RECORDS)
_TYPED = ("DW_TAG_typedef", "DW_TAG_imported_unit")
"""What shows that a unit has types, besides the types themselves: dwz moves them to units of their own."""
_MAX_SCOPES = 32
MAX_STRINGS = 64
"""The most strings that end with a name, and are looked for in units."""
_WIDE = 0xFFFFFFFF
_LENGTH, _LONG = Struct("<I"), Struct("<Q")


@dataclass(slots=True)
class UnitIndex:
    """What one unit defines. functions: by the address of the entry; types: by word ("struct", …) and qualified name"""

    functions: dict[int, DwarfEntry] = field(default_factory=dict)
    types: dict[tuple[str, str], DwarfEntry] = field(default_factory=dict)


class Units:
    """The units of a file's .debug_info; what one defines is listed once, when asked for."""

    def __init__(self, dwarf: DwarfData) -> None:
        self.dwarf = dwarf
        self._info = dwarf.debug_info_sec.stream.getbuffer() if dwarf.debug_info_sec else memoryview(b"")
        self.offsets = list(_offsets(self._info))
        self._known: dict[int, UnitIndex] = {}
        self._have_types: dict[int, bool] = {}
        self._ranges: list[tuple[int, int, int]] | None = None

    def index(self, unit: CompileUnit) -> UnitIndex:
        """What a unit defines."""
        if unit.cu_offset not in self._known:
            found = self._known[unit.cu_offset] = UnitIndex()
            lists = self.dwarf.range_lists()
            for name, entry in _definitions(unit.get_top_DIE(), ()):
                if entry.tag == "DW_TAG_subprogram":
                    ranges = code_ranges(self.dwarf, entry, lists)
                    if ranges:
                        found.functions.setdefault(ranges[0][0], entry)
                elif name:
                    found.types.setdefault((_NAMED[entry.tag], name), entry)
        return self._known[unit.cu_offset]

    def functions(self, addresses: Collection[int]) -> dict[int, DwarfEntry]:
        """The entries of the functions that begin at these addresses, as far as there are any."""
        found: dict[int, DwarfEntry] = {}
        for offset in self.with_code(addresses):
            functions = self.index(self.dwarf.get_CU_at(offset)).functions
            for address in addresses:
                if address in functions:
                    found.setdefault(address, functions[address])
        return found

    def has_types(self, unit: CompileUnit) -> bool:
        """Whether a unit describes any type: with -g1 it has functions, but neither their parameters nor types."""
        if unit.cu_offset not in self._have_types:
            children = unit.get_top_DIE().iter_children()
            self._have_types[unit.cu_offset] = any(one.tag in _TYPED or one.tag.endswith("_type") for one in children)
        return self._have_types[unit.cu_offset]

    def with_code(self, addresses: Collection[int]) -> dict[int, list[int]]:
        """The offsets of the units that have code at some of the addresses, ascending, each with those addresses."""
        if self._ranges is None:
            self._ranges = sorted(self._find_ranges())
        wanted = sorted(addresses)
        found: dict[int, list[int]] = {}
        for offset, begin, end in self._ranges:
            some = wanted[bisect_left(wanted, begin) : bisect_left(wanted, end)]
            if some:
                found.setdefault(offset, []).extend(some)
        return found

    def _find_ranges(self) -> Iterator[tuple[int, int, int]]:
        """(offset of the unit, begin, end) for all code: from .debug_aranges, or the first entries of units not there.

        Not all compilers write .debug_aranges. To read the first entry of a unit takes milliseconds.
        """
        listed = self.dwarf.get_aranges()
        units = frozenset(self.offsets)
        entries = [one for one in listed.entries if one.info_offset in units] if listed is not None else []
        for one in entries:
            yield one.info_offset, one.begin_addr, one.begin_addr + one.length
        lists = self.dwarf.range_lists()
        for offset in sorted(units - {one.info_offset for one in entries}):
            for begin, end in code_ranges(self.dwarf, self.dwarf.get_CU_at(offset).get_top_DIE(), lists):
                yield offset, begin, end

    def functions_with_code(self, unit: CompileUnit) -> list[tuple[int, int, DwarfEntry]]:
        """(begin, end, entry) for each range of code of the functions of a unit."""
        lists = self.dwarf.range_lists()
        return [
            (begin, end, entry)
            for _, entry in _definitions(unit.get_top_DIE(), ())
            if entry.tag == "DW_TAG_subprogram"
            for begin, end in code_ranges(self.dwarf, entry, lists)
        ]

    def type(self, words: Sequence[str], name: str) -> DwarfEntry | None:
        """The definition of a type of one of these words ("struct", "typedef", …), by its qualified name."""
        for offset in self._naming(name.rpartition("::")[2].encode(errors="replace")):
            types = self.index(self.dwarf.get_CU_at(offset)).types
            for word in words:
                if (word, name) in types:
                    return types[word, name]
        return None

    def _naming(self, name: bytes) -> Iterator[int]:
        """The offsets of the units in which a name is, each once."""
        text = name + b"\0"
        seen: set[int] = set()
        info = bytes(self._info)
        for wanted in (text, *self._references(text)):
            at = info.find(wanted)
            while at >= 0:
                place = bisect_right(self.offsets, at) - 1
                if place >= 0 and self.offsets[place] not in seen:
                    seen.add(self.offsets[place])
                    yield self.offsets[place]
                behind = self.offsets[place + 1] if place + 1 < len(self.offsets) else len(info)
                at = info.find(wanted, max(behind, at + 1))
        if self._is_indexed(text):
            yield from (offset for offset in self.offsets if offset not in seen)

    def _references(self, text: bytes) -> list[bytes]:
        """The bytes by which entries refer to the strings that end so."""
        strings = self.dwarf.debug_str_sec
        found: list[bytes] = []
        content = bytes(strings.stream.getbuffer()) if strings else b""
        at = content.find(text)
        while at >= 0 and len(found) < MAX_STRINGS:
            found.append(_LENGTH.pack(at & _WIDE))
            at = content.find(text, at + 1)
        return found

    def _is_indexed(self, text: bytes) -> bool:
        """Whether entries may refer to the name by its number in .debug_str_offsets, which bytes do not show."""
        offsets = self.dwarf.debug_str_offsets_sec
        content = bytes(offsets.stream.getbuffer()) if offsets else b""
        return any(one in content for one in self._references(text))


def _offsets(info: memoryview) -> Iterator[int]:
    """Where each unit begins."""
    at = 0
    while at + 4 <= len(info):
        yield at
        (length,) = _LENGTH.unpack_from(info, at)
        size = 4
        if length == _WIDE:
            if at + 12 > len(info):
                return
            (length,) = _LONG.unpack_from(info, at + 4)
            size = 12
        at += size + length


def _definitions(top: DwarfEntry, scope: tuple[str, ...]) -> Iterator[tuple[str, DwarfEntry]]:
    """The functions with code and the complete named types below an entry, with their qualified names."""
    for entry in top.iter_children():
        if entry.tag == "DW_TAG_subprogram":
            if "DW_AT_low_pc" in entry.attributes or "DW_AT_ranges" in entry.attributes:
                yield "", entry
            continue
        name = own_name(entry) if entry.tag in _NAMED or entry.tag in _CONTAINERS else ""
        if entry.tag in _NAMED and name and not is_set(entry, "DW_AT_declaration"):
            yield "::".join((*scope, name)), entry
        if entry.tag in _CONTAINERS and len(scope) < _MAX_SCOPES and _has_scope(entry):
            yield from _definitions(entry, (*scope, name or "(anonymous)"))


def _has_scope(entry: DwarfEntry) -> bool:
    """Whether functions or types may be below an entry: in C none are below a struct."""
    return entry.tag not in RECORDS or number(entry.cu.get_top_DIE(), "DW_AT_language") not in _FLAT


_FLAT = (0x01, 0x02, 0x0C, 0x1D)


def code_ranges(dwarf: DwarfData, entry: DwarfEntry, lists: RangeLists | None) -> list[tuple[int, int]]:
    """The ranges of addresses of a unit or function, in order: the first begins at a function's entry."""
    low = number(entry, "DW_AT_low_pc")
    high = entry.attributes.get("DW_AT_high_pc")
    if low is not None and high is not None and isinstance(high.value, int):
        return [(low, high.value if high.form == "DW_FORM_addr" else low + high.value)]
    ranges = entry.attributes.get("DW_AT_ranges")
    if ranges is None or lists is None or not isinstance(ranges.value, int):
        return []
    base, found = number(entry.cu.get_top_DIE(), "DW_AT_low_pc") or 0, []
    for one in lists.get_range_list_at_offset(ranges.value, cu=entry.cu):
        if hasattr(one, "base_address"):
            base = one.base_address
        else:
            start = 0 if one.is_absolute else base
            found.append((start + one.begin_offset, start + one.end_offset))
    return found

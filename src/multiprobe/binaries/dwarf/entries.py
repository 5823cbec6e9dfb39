"""Debugging information entries as pyelftools gives them, and what is asked of them: names, types, numbers.

pyelftools is optional, and is imported only in the process that reads DWARF: these are the parts of its objects that
are used, and functions of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MAX_ORIGINS = 8
"""The most steps from an entry to the one that it completes."""
MAX_NAME = 512


class EntryAttribute(Protocol):
    """An attribute of an entry."""

    form: str
    value: object
    raw_value: object


class SectionStream(Protocol):
    """A section's bytes."""

    def getbuffer(self) -> memoryview:
        """All of them."""
        ...


class DebugSection(Protocol):
    """A section."""

    stream: SectionStream


class CompileUnit(Protocol):
    """A unit of .debug_info or .debug_types."""

    cu_offset: int

    def __getitem__(self, name: str, /) -> object: ...

    def get_top_DIE(self) -> DwarfEntry:  # noqa: N802
        """Its first entry."""
        ...

    def get_DIE_from_refaddr(self, offset: int, /) -> DwarfEntry:  # noqa: N802
        """The entry at an offset of the section."""
        ...


class DwarfEntry(Protocol):
    """A debugging information entry."""

    tag: str
    offset: int
    attributes: Mapping[str, EntryAttribute]
    cu: CompileUnit
    dwarfinfo: DwarfData

    def iter_children(self) -> Iterator[DwarfEntry]:
        """The entries directly below it."""
        ...

    def get_DIE_from_attribute(self, name: str, /) -> DwarfEntry:  # noqa: N802
        """The entry that an attribute refers to."""
        ...

    def get_parent(self) -> DwarfEntry | None:
        """The entry above it."""
        ...


class ListItem(Protocol):
    """An entry of a list of ranges or locations: a range, or the base of those that follow."""

    base_address: int
    begin_offset: int
    end_offset: int
    is_absolute: bool
    loc_expr: Sequence[int]


class RangeLists(Protocol):
    """.debug_ranges or .debug_rnglists."""

    def get_range_list_at_offset(self, offset: int, /, cu: CompileUnit) -> Sequence[ListItem]:
        """The list that begins there."""
        ...


class LocationLists(Protocol):
    """.debug_loc or .debug_loclists."""

    def get_location_list_at_offset(self, offset: int, /, die: DwarfEntry) -> Sequence[ListItem]:
        """The list that begins there."""
        ...


class AddressRange(Protocol):
    """A range of code, and the offset of the unit that has it."""

    begin_addr: int
    length: int
    info_offset: int


class AddressRanges(Protocol):
    """.debug_aranges."""

    entries: Sequence[AddressRange]


class DwarfData(Protocol):
    """The DWARF of a file."""

    debug_info_sec: DebugSection | None
    debug_str_sec: DebugSection | None
    debug_str_offsets_sec: DebugSection | None
    supplementary_dwarfinfo: DwarfData | None

    def get_CU_at(self, offset: int, /) -> CompileUnit:  # noqa: N802
        """The unit at an offset of .debug_info."""
        ...

    def get_aranges(self) -> AddressRanges | None:
        """.debug_aranges."""
        ...

    def range_lists(self) -> RangeLists | None:
        """The lists of ranges."""
        ...

    def location_lists(self) -> LocationLists | None:
        """The lists of locations."""
        ...

    def get_addr(self, unit: CompileUnit, index: int, /) -> int:
        """An address of .debug_addr."""
        ...


def own_name(entry: DwarfEntry) -> str:
    """The name that the entry itself gives, printable, or ""."""
    value = entry.attributes.get("DW_AT_name")
    if value is None or not isinstance(value.value, bytes):
        return ""
    text = value.value[:MAX_NAME].decode(errors="replace")
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)


def number(entry: DwarfEntry, name: str) -> int | None:
    """The whole number that an attribute gives; None without one."""
    value = entry.attributes.get(name)
    return value.value if value is not None and isinstance(value.value, int) else None


def is_set(entry: DwarfEntry, name: str) -> bool:
    """Whether a flag is there and set."""
    value = entry.attributes.get(name)
    return value is not None and bool(value.value)


def origins(entry: DwarfEntry) -> Iterator[DwarfEntry]:
    """The entry, and those that it completes: its abstract instance, its declaration."""
    for _ in range(MAX_ORIGINS):
        yield entry
        for name in ("DW_AT_abstract_origin", "DW_AT_specification"):
            if name in entry.attributes:
                entry = entry.get_DIE_from_attribute(name)
                break
        else:
            return


def name_of(entry: DwarfEntry) -> str:
    """The name of an entry, its own or that of what it completes."""
    return next((name for one in origins(entry) if (name := own_name(one))), "")


def referred(entry: DwarfEntry, name: str = "DW_AT_type") -> DwarfEntry | None:
    """What an attribute of an entry, or of what it completes, refers to; None without one."""
    for one in origins(entry):
        if name in one.attributes:
            return one.get_DIE_from_attribute(name)
    return None


def language(entry: DwarfEntry) -> int:
    """The source language of an entry's unit (DW_LANG), 0 if it is not known."""
    return number(entry.cu.get_top_DIE(), "DW_AT_language") or 0


def producer(entry: DwarfEntry) -> bytes:
    """The compiler, as it names itself."""
    found = entry.cu.get_top_DIE().attributes.get("DW_AT_producer")
    return found.value if found is not None and isinstance(found.value, bytes) else b""


C = frozenset((0x01, 0x02, 0x0C, 0x1D, 0x2C, 0x3E))
CPLUSPLUS = frozenset((0x04, 0x1A, 0x21, 0x2B, 0x3A))
RUST = frozenset((0x1C,))

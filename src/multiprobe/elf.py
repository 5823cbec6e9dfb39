"""Reads 64-bit little-endian ELF files: the machine, segments and sections. Pure.

All functions raise DataError for any other file, for one that is cut off, and for one with impossible tables.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple, Protocol

from multiprobe.errors import DataError

EM_X86_64, EM_AARCH64, EM_BPF = 62, 183, 247
ET_REL, ET_EXEC, ET_DYN, ET_CORE = 1, 2, 3, 4
PT_LOAD, PT_INTERP = 1, 3
PF_X, PF_W = 1, 2
SHT_NULL, SHT_SYMTAB, SHT_NOBITS, SHT_DYNSYM = 0, 2, 8, 11
_IDENT = b"\x7fELF\x02\x01"
_HEADER = Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = Struct("<IIQQQQQQ")
_SECTION = Struct("<IIQQQQIIQQ")


class ElfBytes(Protocol):
    """The bytes of a file: `bytes`, or an object that reads a slice of a file when it is asked for."""

    def __len__(self) -> int:
        """The size of the file."""

    def __getitem__(self, part: slice, /) -> bytes:
        """The bytes of a slice without a step."""


class Segment(NamedTuple):
    """`size` bytes at `offset` in the file, which are at `address` in memory. `flags`: PF_X, …"""

    kind: int
    offset: int
    address: int
    size: int
    flags: int = 0


class ElfSection(NamedTuple):
    """`size` bytes at `offset` in the file, at `address` in memory (0: in none); `link` is the index of another
    section, such as a table's strings."""

    name: str
    kind: int
    offset: int
    size: int
    link: int
    address: int = 0


def _header(data: ElfBytes) -> tuple[int, ...]:
    head = data[: _HEADER.size]
    if len(head) < _HEADER.size or not head.startswith(_IDENT):
        raise DataError("not a 64-bit little-endian ELF file")
    found: tuple[int, ...] = _HEADER.unpack(head)[1:]
    return found


def _entries(data: ElfBytes, layout: Struct, what: str, start: int, width: int, count: int) -> list[tuple[int, ...]]:
    if count and width < layout.size:
        raise DataError(f"{count} {what} headers of {width} bytes each: they have {layout.size}")
    if start + width * count > len(data):
        raise DataError(
            f"the ELF file is cut off at byte {len(data)}: its {count} {what} headers reach to byte "
            f"{start + width * count}"
        )
    table = data[start : start + width * count]
    return [layout.unpack_from(table, width * n) for n in range(count)]


def segments_end(data: ElfBytes) -> int:
    """The number of bytes from the start of the file to the end of its program headers."""
    header = _header(data)
    return header[4] + header[8] * header[9]


def parse_segments(data: ElfBytes) -> list[Segment]:
    """The segments, in order; of the file only its header and the program headers need be there."""
    header = _header(data)
    entries = _entries(data, _SEGMENT, "program", header[4], header[8], header[9])
    return [Segment(kind, offset, address, size, flags) for kind, flags, offset, address, _, size, _, _ in entries]


def parse_entry(data: ElfBytes) -> int:
    """The address at which the kernel or the loader begins to run the file; 0 if there is none."""
    return int(_header(data)[3])


def parse_sections(data: ElfBytes) -> list[ElfSection]:
    """The sections, in order; empty if the file has none."""
    header = _header(data)
    entries = _entries(data, _SECTION, "section", header[5], header[10], header[11])
    if not entries:
        return []
    for entry in entries:
        if entry[1] not in (SHT_NULL, SHT_NOBITS) and entry[4] + entry[5] > len(data):
            raise DataError(
                f"the ELF file is cut off at byte {len(data)}: a section reaches to byte {entry[4] + entry[5]}"
            )
    if header[12] >= len(entries):
        raise DataError(f"the section with names is number {header[12]} of {len(entries)}")
    names = entries[header[12]]
    text = data[names[4] : names[4] + names[5]]
    return [
        ElfSection(text_at(text, name), kind, offset, size, link, address)
        for name, kind, _, address, offset, size, link, *_ in entries
    ]


def text_at(strings: bytes, offset: int) -> str:
    """The NUL-terminated string at `offset` in a string table."""
    end = strings.find(b"\0", offset)
    if end < 0:
        raise DataError(f"no string ends after byte {offset} of a string table of {len(strings)}")
    return strings[offset:end].decode(errors="replace")


def machine(data: ElfBytes) -> int:
    """The machine that the file is for (EM_BPF, …); its sections are checked too."""
    parse_sections(data)
    return _header(data)[1]


def kind_and_machine(data: ElfBytes) -> tuple[int, int]:
    """The kind of file (ET_DYN, …) and its machine (EM_X86_64, …), by its header alone."""
    kind, found = _header(data)[:2]
    return kind, found


def contents(data: ElfBytes) -> dict[str, bytes]:
    """The contents of all sections, by name."""
    return {one.name: data[one.offset : one.offset + one.size] for one in parse_sections(data)}

"""Reads the source lines at which functions begin from a file's DWARF, also from a hostile one.

pyelftools, an optional library, finds the units and reads their headers. It does not bound what it does for damaged
files, so it runs in a process of its own, with limits: this module as a program. The rows of a line program, of which a
kernel has millions, are computed here: only those at the addresses asked for are kept.
"""

from __future__ import annotations

import json
import os
import sys
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, BinaryIO, Protocol

from multiprobe.binaries.dwarf import limited
from multiprobe.elf import parse_sections
from multiprobe.errors import NotSupportedError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from multiprobe.binaries.file import BinaryFile

MAX_MEMORY = 1 << 32
"""The most bytes of memory for a file, unpacked: the DWARF of a distribution's kernel is below 1 GiB."""
MAX_SECONDS = 600
"""The most processor time for a file."""
_MAX_PATH = 4096
_COPY, _ADVANCE_PC, _ADVANCE_LINE, _SET_FILE, _CONST_ADD_PC, _FIXED_ADVANCE_PC = 1, 2, 3, 4, 8, 9
_END_SEQUENCE, _SET_ADDRESS = 1, 2
END = -(1 << 63)
"""The line of the row that ends a sequence of instructions: its address is behind the last one."""


@dataclass(frozen=True, slots=True)
class SourceLine:
    """A line of a source file. path: as the compiler noted it; line: from 1."""

    path: str
    line: int


class FileEntry(Protocol):
    """A file in the header of a line program."""

    name: bytes
    dir_index: int | None


class Header(Protocol):
    """The header of a line program, as pyelftools reads it."""

    version: int
    opcode_base: int
    line_base: int
    line_range: int
    minimum_instruction_length: int
    standard_opcode_lengths: Sequence[int]
    file_entry: Sequence[FileEntry]
    include_directory: Sequence[bytes]


class LineProgram(Protocol):
    """A line program: where it is in .debug_line."""

    header: Header
    stream: BinaryIO
    program_start_offset: int
    program_end_offset: int


class Attribute(Protocol):
    """An attribute of an entry."""

    value: object


class DebugEntry(Protocol):
    """A debugging information entry."""

    attributes: Mapping[str, Attribute]


class Unit(Protocol):
    """A compilation unit."""

    def get_top_DIE(self) -> DebugEntry:  # noqa: N802
        """Its first entry."""
        ...


class Ranges(Protocol):
    """.debug_aranges."""

    entries: Sequence[object]

    def cu_offset_at_addr(self, address: int, /) -> int | None:
        """Where the unit is that has code at an address."""


class Dwarf(Protocol):
    """The DWARF of a file."""

    def get_aranges(self) -> Ranges | None:
        """Which units have code where."""

    def iter_CUs(self) -> Iterator[Unit]:  # noqa: N802
        """All units."""
        ...

    def get_CU_at(self, offset: int, /) -> Unit:  # noqa: N802
        """The unit at an offset of .debug_info."""
        ...

    def line_program_for_CU(self, unit: Unit, /) -> LineProgram | None:  # noqa: N802
        """The line program of a unit, if it has one."""


class ElfFile(Protocol):
    """An ELF file."""

    def get_dwarf_info(self, *, relocate_dwarf_sections: bool, follow_links: bool) -> Dwarf:
        """Its DWARF."""
        ...


def require_pyelftools() -> None:
    """Raise NotSupportedError without pyelftools."""
    if not limited.has_pyelftools():
        raise NotSupportedError("source lines need pyelftools", hint=limited.HINT)


def has_lines(file: BinaryFile) -> bool:
    """Whether a file has source lines in DWARF itself. Raises DataError for a damaged one."""
    return any(section.name == ".debug_line" for section in parse_sections(file))


def read_lines(file: BinaryFile, addresses: Collection[int]) -> dict[int, SourceLine]:
    """The source line at each of these addresses (as in the file's symbols); those without one are left out.

    Raises NotSupportedError without pyelftools, DataError for a file that is damaged or far too large.
    """
    require_pyelftools()
    parse_sections(file)
    asked = json.dumps(sorted(addresses)).encode()
    answer = limited.ask(__name__, file, asked, max_memory=MAX_MEMORY, max_seconds=MAX_SECONDS)
    return {address: SourceLine(path, line) for address, path, line in json.loads(answer)}


def _main(fd: int, max_memory: int, max_seconds: int) -> None:
    """Print the lines in the file with this descriptor, for the addresses on standard input."""
    limited.limit(max_memory, max_seconds)
    addresses = frozenset(json.load(sys.stdin))
    with os.fdopen(fd, "rb") as stream:
        found = _read(import_module("elftools.elf.elffile").ELFFile(stream), addresses)
    json.dump([(address, line.path, line.line) for address, line in found.items()], sys.stdout)


def _read(elf: ElfFile, addresses: frozenset[int]) -> dict[int, SourceLine]:
    dwarf = elf.get_dwarf_info(relocate_dwarf_sections=False, follow_links=False)
    found: dict[int, SourceLine] = {}
    seen: set[int] = set()
    for unit in _units(dwarf, addresses):
        program = dwarf.line_program_for_CU(unit)
        if program is None or program.program_start_offset in seen:
            continue
        seen.add(program.program_start_offset)
        for address, line in _lines(program, unit, addresses):
            found.setdefault(address, line)
    return found


def _units(dwarf: Dwarf, addresses: frozenset[int]) -> Iterator[Unit]:
    """The units with code at the addresses, by .debug_aranges; all, where it does not know each address."""
    ranges = dwarf.get_aranges()
    offsets: set[int | None] = {None}
    if ranges and ranges.entries:
        offsets = {ranges.cu_offset_at_addr(address) for address in addresses}
    known = sorted(offset for offset in offsets if offset is not None)
    return dwarf.iter_CUs() if None in offsets else map(dwarf.get_CU_at, known)


def _lines(program: LineProgram, unit: Unit, addresses: frozenset[int]) -> Iterator[tuple[int, SourceLine]]:
    program.stream.seek(program.program_start_offset)
    code = program.stream.read(program.program_end_offset - program.program_start_offset)
    names: dict[int, str] = {}
    for address, number, line in rows(code, program.header):
        if address in addresses and line > 0:
            if number not in names:
                names[number] = path_of(program.header, number, _folder(unit))
            yield address, SourceLine(names[number], line)


def _folder(unit: Unit) -> bytes:
    """The folder in which a unit was compiled."""
    found = unit.get_top_DIE().attributes.get("DW_AT_comp_dir")
    return found.value if found and isinstance(found.value, bytes) else b""


def path_of(header: Header, number: int, compiled_in: bytes) -> str:
    """The path of a file by its number; "" for a number that the header does not have.

    compiled_in: the folder in which the unit was compiled
    """
    first = 0 if header.version >= 5 else 1
    files, folders = header.file_entry, header.include_directory
    if not first <= number < len(files) + first:
        return ""
    file = files[number - first]
    parts = [compiled_in]
    with suppress(IndexError):
        folder = file.dir_index or 0
        parts += [folders[folder - first]] if folder >= first else []
    return os.fsdecode(os.path.normpath(os.path.join(*parts, file.name))[:_MAX_PATH])


def lines_at(code: bytes, header: Header, addresses: Sequence[int]) -> dict[int, tuple[int, int]]:
    """(number of the file, line) in effect at each of some ascending addresses, by a line program. Pure.

    Addresses of which it says nothing are left out. Raises as `rows`.
    """
    found: dict[int, tuple[int, int]] = {}
    begin, place = 0, None
    for end, file, line in rows(code, header, has_ends=True):
        if place is not None and begin < end:
            first, last = bisect_left(addresses, begin), bisect_left(addresses, end)
            found |= dict.fromkeys(addresses[first:last], place)
        begin, place = end, None if line == END else (file, line)
    return found


def rows(code: bytes, header: Header, *, has_ends: bool = False) -> Iterator[tuple[int, int, int]]:
    """(address, number of the file, line) of each row of a line program. Pure.

    header: opcode_base, line_base, line_range, minimum_instruction_length, standard_opcode_lengths of its header
    has_ends: with the end of each sequence, whose line is END
    Raises IndexError for a program that is cut off. See section 6.2.5 of DWARF 5.
    """
    base, line_base, line_range = header.opcode_base, header.line_base, header.line_range
    step, operands = header.minimum_instruction_length, header.standard_opcode_lengths
    address, file, line, at, size = 0, 1, 1, 0, len(code)
    while at < size:
        opcode = code[at]
        at += 1
        if opcode >= base:
            advance, more = divmod(opcode - base, line_range)
            address += advance * step
            line += line_base + more
            yield address, file, line
        elif opcode == 0:
            length, at = _uleb(code, at)
            if code[at] == _END_SEQUENCE:
                if has_ends:
                    yield address, file, END
                address, file, line = 0, 1, 1
            elif code[at] == _SET_ADDRESS:
                address = int.from_bytes(code[at + 1 : at + length], "little")
            at += length
        elif opcode == _COPY:
            yield address, file, line
        elif opcode == _CONST_ADD_PC:
            address += (255 - base) // line_range * step
        elif opcode == _FIXED_ADVANCE_PC:
            address += int.from_bytes(code[at : at + 2], "little")
            at += 2
        elif opcode == _ADVANCE_PC:
            number, at = _uleb(code, at)
            address += number * step
        elif opcode == _ADVANCE_LINE:
            number, at = _sleb(code, at)
            line += number
        elif opcode == _SET_FILE:
            file, at = _uleb(code, at)
        else:
            for _ in range(operands[opcode - 1]):
                at = _uleb(code, at)[1]


def _uleb(code: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number, and where it ends. Raises IndexError if it has no end, or more than 10 bytes."""
    number = 0
    for n in range(10):
        byte = code[at + n]
        number |= (byte & 0x7F) << 7 * n
        if byte < 0x80:
            return number, at + n + 1
    raise IndexError("a LEB128 number of more than 10 bytes")


def _sleb(code: bytes, at: int) -> tuple[int, int]:
    """The same for a signed number."""
    number, end = _uleb(code, at)
    bits = 7 * (end - at)
    return number - (1 << bits) if number >> (bits - 1) else number, end


if __name__ == "__main__":
    _main(*map(int, sys.argv[1:]))

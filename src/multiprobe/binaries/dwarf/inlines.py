"""Finds the functions that a compiler inlined at addresses, and their source lines, in DWARF.

This module is a program, too, which `limited` runs: it is given the descriptors of the file and of the one that it
shares entries with (-1: none), reads addresses from standard input, and writes what is there, both as JSON.
"""

from __future__ import annotations

import json
import sys
from time import process_time
from typing import TYPE_CHECKING, Protocol, cast

from multiprobe.binaries.dwarf.child import open_shared
from multiprobe.binaries.dwarf.entries import DwarfData, name_of, number, origins
from multiprobe.binaries.dwarf.limited import limit
from multiprobe.binaries.dwarf.units import Units, code_ranges
from multiprobe.binaries.dwarf_lines import lines_at, path_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multiprobe.binaries.dwarf.entries import CompileUnit, DwarfEntry, RangeLists
    from multiprobe.binaries.dwarf_lines import LineProgram

    Found = tuple[str, str, int]
    """Name of a function, path of a source file or "", and line or 0."""

MAX_INLINED = 64
"""The most functions that are inlined into one another."""
MAX_DEPTH = 256
"""The most blocks in one another."""
MAX_NAME = 2048
SHARE = 0.6
"""Of the time that is allowed, what is spent before units are left out."""
_INLINED = "DW_TAG_inlined_subroutine"
_BLOCKS = ("DW_TAG_lexical_block", "DW_TAG_try_block", "DW_TAG_catch_block", "DW_TAG_with_stmt")
_LINKAGE = ("DW_AT_linkage_name", "DW_AT_MIPS_linkage_name")


class DwarfWithLines(DwarfData, Protocol):
    """The DWARF of a file, with its source lines."""

    def line_program_for_CU(self, unit: CompileUnit, /) -> LineProgram | None:  # noqa: N802
        """The line program of a unit, if it has one."""


def main(fd: int, shared_fd: int, max_memory: int, max_seconds: int) -> None:
    """Answer what standard input asks of the file."""
    limit(max_memory, max_seconds)
    addresses = json.load(sys.stdin)
    with open_shared(fd, shared_fd) as dwarf:
        found, is_whole = read(cast("DwarfWithLines", dwarf), addresses, SHARE * max_seconds)
    json.dump({"places": list(found.items()), "is_whole": is_whole}, sys.stdout)


def read(dwarf: DwarfWithLines, addresses: Sequence[int], seconds: float) -> tuple[dict[int, list[Found]], bool]:
    """The functions at each address with their places there, the innermost first, the one that is not inlined last.

    Addresses outside of functions with DWARF are left out. After so many seconds of processor time, no other unit is
    begun; then the answer is not whole.
    """
    found: dict[int, list[Found]] = {}
    units = Units(dwarf)
    for offset, wanted in units.with_code(addresses).items():
        if process_time() > seconds:
            return found, False
        found |= _InlinedReader(dwarf, units, offset, wanted).read()
    return found, True


class _InlinedReader:
    """Reads what is at some addresses of one unit."""

    def __init__(self, dwarf: DwarfWithLines, units: Units, offset: int, addresses: Sequence[int]) -> None:
        self._dwarf = dwarf
        self._unit = dwarf.get_CU_at(offset)
        self._lists = dwarf.range_lists()
        self._functions = units.functions_with_code(self._unit)
        self._addresses = sorted(addresses)
        self._program = dwarf.line_program_for_CU(self._unit)
        compiled_in = self._unit.get_top_DIE().attributes.get("DW_AT_comp_dir")
        self._folder = compiled_in.value if compiled_in and isinstance(compiled_in.value, bytes) else b""
        self._paths: dict[int, str] = {}

    def read(self) -> dict[int, list[Found]]:
        lines = self._lines()
        found = {}
        for address in self._addresses:
            around = [(end - begin, n) for n, (begin, end, _) in enumerate(self._functions) if begin <= address < end]
            if around:
                function = self._functions[min(around)[1]][2]
                found[address] = self._places(function, address, *lines.get(address, (0, 0)))
        return found

    def _lines(self) -> dict[int, tuple[int, int]]:
        program = self._program
        if program is None:
            return {}
        program.stream.seek(program.program_start_offset)
        code = program.stream.read(program.program_end_offset - program.program_start_offset)
        return lines_at(code, program.header, self._addresses)

    def _places(self, function: DwarfEntry, address: int, file: int, line: int) -> list[Found]:
        """The instances around the address, each where the one within it was called."""
        found: list[Found] = []
        for entry in reversed([function, *_instances(self._dwarf, function, address, self._lists)]):
            found.append((_symbol_of(entry), self._path(file) if line else "", line))
            file, line = (max(number(entry, f"DW_AT_call_{what}") or 0, 0) for what in ("file", "line"))
        return found

    def _path(self, file: int) -> str:
        if file not in self._paths:
            self._paths[file] = path_of(self._program.header, file, self._folder) if self._program else ""
        return self._paths[file]


def _symbol_of(entry: DwarfEntry) -> str:
    """The name of a function in symbol tables, as far as DWARF tells; else its name in the source."""
    for one in origins(entry):
        for name in _LINKAGE:
            value = one.attributes.get(name)
            if value is not None and isinstance(value.value, bytes):
                return value.value[:MAX_NAME].decode(errors="replace")
    return name_of(entry)


def _instances(dwarf: DwarfData, function: DwarfEntry, address: int, lists: RangeLists | None) -> list[DwarfEntry]:
    """The inlined instances at the address, from the outermost on."""
    found: list[DwarfEntry] = []
    below = _instance_in(dwarf, function, address, lists, 0)
    while below is not None and len(found) < MAX_INLINED:
        found.append(below)
        below = _instance_in(dwarf, below, address, lists, 0)
    return found


def _instance_in(
    dwarf: DwarfData, entry: DwarfEntry, address: int, lists: RangeLists | None, depth: int
) -> DwarfEntry | None:
    """The instance at the address that is directly below an entry, or in blocks there: these may have no ranges."""
    for child in entry.iter_children():
        if child.tag != _INLINED and child.tag not in _BLOCKS:
            continue
        ranges = code_ranges(dwarf, child, lists)
        is_here = any(begin <= address < end for begin, end in ranges)
        if child.tag == _INLINED and is_here:
            return child
        if child.tag in _BLOCKS and (is_here or not ranges) and depth < MAX_DEPTH:
            found = _instance_in(dwarf, child, address, lists, depth + 1)
            if found is not None:
                return found
    return None


if __name__ == "__main__":
    main(*map(int, sys.argv[1:5]))

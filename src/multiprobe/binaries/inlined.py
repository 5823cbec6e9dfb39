"""Finds the functions that were inlined at addresses of a binary, with their source lines, by its DWARF.

pyelftools, an optional library, reads it in a process with limits. A binary without DWARF has no such functions.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.binaries.debug_files import open_dwarf_file, open_shared_file
from multiprobe.binaries.dwarf import limited
from multiprobe.elf import PF_X, PT_LOAD, parse_segments
from multiprobe.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from multiprobe.binaries.file import BinaryFile

MAX_MEMORY = 1 << 32
"""The most bytes of memory for a file, unpacked."""
MAX_SECONDS = 30
"""The most processor time for one question."""
MAX_ADDRESSES = 20_000
"""The most addresses in one question."""
_CHILD = "multiprobe.binaries.dwarf.inlines"


@dataclass(frozen=True, slots=True)
class CodePlace:
    """A function at an address, and where it is there in its source.

    name: as in symbol tables, "" if it is not known; path, line: "" and 0 if they are not known

    Of a function into which another one was inlined at the address, this is where it calls that one.
    """

    name: str
    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.path and self.line else ""


def read_places_at(file: BinaryFile, offsets: Iterable[int], problems: list[str]) -> dict[int, tuple[CodePlace, ...]]:
    """As `read_places`, for offsets in the file. One that is not an ELF file has no DWARF."""
    try:
        loads = [one for one in parse_segments(file) if one.kind == PT_LOAD and one.flags & PF_X]
    except DataError:
        return {}
    offset_of = {
        load.address + offset - load.offset: offset
        for offset in offsets
        for load in loads
        if load.offset <= offset < load.offset + load.size
    }
    found = read_places(file, offset_of, problems)
    return {offset_of[address]: places for address, places in found.items()}


def read_places(file: BinaryFile, addresses: Collection[int], problems: list[str]) -> dict[int, tuple[CodePlace, ...]]:
    """The functions at each of these addresses (as in the file's symbols): the inlined ones, innermost first, and last
    the one that they were inlined into.

    Addresses outside of functions with DWARF are left out. `problems` gets why others are, if there is DWARF.
    Raises DataError for a file that is damaged, or takes too long.
    """
    source = open_dwarf_file(file, problems) if addresses else None
    if source is None:
        return {}
    with source:
        if not limited.has_pyelftools():
            problems.append(f"{file.path} tells inlined functions (DWARF), which need pyelftools: {limited.HINT}")
            return {}
        answer = _ask(source, sorted(addresses)[:MAX_ADDRESSES])
    found, is_whole = _decode(file, answer)
    if not is_whole or len(addresses) > MAX_ADDRESSES:
        problems.append(f"{file.path}: inlined functions at {len(found):,} of {len(addresses):,} addresses were read")
    return found


def _ask(source: BinaryFile, addresses: list[int]) -> bytes:
    shared = open_shared_file(source)
    try:
        others = [-1 if shared is None else shared.fileno()]
        asked = json.dumps(addresses).encode()
        return limited.ask(_CHILD, source, asked, max_memory=MAX_MEMORY, max_seconds=MAX_SECONDS, others=others)
    finally:
        if shared is not None:
            shared.close()


def _decode(file: BinaryFile, answer: bytes) -> tuple[dict[int, tuple[CodePlace, ...]], bool]:
    """What is at each address, and whether that is all. Raises DataError for an answer that can't be one."""
    try:
        told = json.loads(answer)
        found = {
            int(address): tuple(CodePlace(str(name), str(path), int(line)) for name, path, line in places)
            for address, places in told["places"]
        }
        return found, bool(told["is_whole"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(f"{file.path}: its DWARF can't be read: {error}") from error

"""Resolves addresses in a process to functions, by its mappings and the `.symtab` or `.dynsym` of their ELF files.

The mappings of a process must be read while it lives; each file is read once. Code generated at run time (JIT) has no
file and stays an address.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from dataclasses import dataclass
from struct import iter_unpack
from typing import TYPE_CHECKING

from multiprobe.binaries.demangling import Demangler
from multiprobe.binaries.file import BinaryFile
from multiprobe.binaries.inlined import read_places_at
from multiprobe.binaries.mappings import parse_mappings
from multiprobe.elf import PT_LOAD, SHT_DYNSYM, SHT_SYMTAB, parse_sections, parse_segments
from multiprobe.errors import DataError, MultiprobeError
from multiprobe.names import decode_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from multiprobe.binaries.inlined import CodePlace

_FUNC, _IFUNC = 2, 10
INLINED = " [inlined]"
"""What follows the name of a function that was inlined into the one above it."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """A range of a process's memory, [start, end), that maps `path` from file `offset` on."""

    start: int
    end: int
    offset: int
    path: str


def parse_maps(text: str) -> list[Mapping]:
    """The executable mappings of /proc/PID/maps, by address."""
    return [
        Mapping(one.start, one.end, one.offset, one.path.removesuffix(" (deleted)"))
        for one in parse_mappings(text)
        if one.is_code
    ]


class ElfFunctions:
    """The functions of an ELF file by their offsets in the file."""

    def __init__(self, data: bytes) -> None:
        self._demangle = Demangler()
        self._offsets: list[int] = []
        self._functions: list[tuple[int, str]] = []  # size, name
        for offset, size, name in sorted(_functions(data), key=lambda item: (item[0], -item[1], item[2])):
            if not self._offsets or self._offsets[-1] != offset:
                self._offsets.append(offset)
                self._functions.append((size, name))

    def name(self, offset: int) -> str:
        """The function at this offset of the file, demangled without parameters, or ""."""
        at = bisect_right(self._offsets, offset) - 1
        if at < 0:
            return ""
        size, name = self._functions[at]
        if offset - self._offsets[at] >= max(size, 1):
            return ""
        demangled = self._demangle(name)
        return demangled.name if demangled else name


def _functions(data: bytes) -> list[tuple[int, int, str]]:
    """(file offset, size, name) of each function; none if the file is not a 64-bit little-endian ELF file."""
    try:
        loads = [(one.address, one.offset, one.size) for one in parse_segments(data) if one.kind == PT_LOAD]
        sections = parse_sections(data)
        tables = [s for s in sections if s.kind == SHT_SYMTAB] or [s for s in sections if s.kind == SHT_DYNSYM]
        found = []
        for table in tables:
            symbols, strings = data[table.offset :][: table.size], sections[table.link].offset
            for name, info, _, index, address, size in iter_unpack("<IBBHQQ", symbols[: len(symbols) // 24 * 24]):
                if info & 15 in (_FUNC, _IFUNC) and index and (offset := _offset(loads, address)) >= 0:
                    end = data.index(b"\0", strings + name)
                    found.append((offset, size, decode_name(data[strings + name : end])))
    except (DataError, ValueError, IndexError):
        return []
    return found


def _offset(loads: Sequence[tuple[int, int, int]], address: int) -> int:
    for start, offset, size in loads:
        if start <= address < start + size:
            return address - start + offset
    return -1


@dataclass(frozen=True, slots=True)
class UserFrame:
    """A frame of a process. label: as printed; place: `path:line` in the source, "" where it is not known"""

    label: str
    place: str


class UserResolver:
    """Names the functions of processes whose mappings `look(pid)` has read.

    problems: why inlined functions are not known, of files that have DWARF
    """

    def __init__(self, *, root: str = "/proc") -> None:
        self._root = root
        self._maps: dict[int, list[Mapping]] = {}
        self._files: dict[str, ElfFunctions] = {}
        self._places: dict[str, dict[int, tuple[CodePlace, ...]]] = {}
        self._unreadable: set[str] = set()
        self._demangle = Demangler()
        self.problems: list[str] = []

    def look(self, pid: int) -> None:
        """Read the mappings of a process, if it still lives. Earlier mappings that no new one overlaps are kept."""
        try:
            with open(f"{self._root}/{pid}/maps", encoding="utf-8", errors="surrogateescape") as file:
                fresh = parse_maps(file.read())
        except OSError:
            return
        kept = [m for m in self._maps.get(pid, ()) if not any(f.start < m.end and m.start < f.end for f in fresh)]
        self._maps[pid] = sorted([*fresh, *kept], key=lambda mapping: mapping.start)

    def add(self, pid: int, mapping: Mapping) -> None:
        """Note a mapping that was found out otherwise, unless those of the process have been read."""
        if self._find(pid, mapping.start) is None and self._find(pid, mapping.end - 1) is None:
            self._maps[pid] = sorted([*self._maps.get(pid, ()), mapping], key=lambda one: one.start)

    def _find(self, pid: int, address: int) -> Mapping | None:
        """The mapping of a process that contains the address."""
        mappings = self._maps.get(pid, [])
        at = bisect_right(mappings, address, key=lambda mapping: mapping.start) - 1
        return mappings[at] if at >= 0 and address < mappings[at].end else None

    def find_inlined(self, frames: Iterable[tuple[int, int]]) -> None:
        """Read which functions were inlined at addresses inside of frames, (process, address) each, file by file."""
        wanted: dict[str, tuple[int, set[int]]] = {}
        for pid, inside in frames:
            mapping = self._find(pid, inside)
            if mapping is not None and mapping.path.startswith("/") and mapping.path not in self._unreadable:
                wanted.setdefault(mapping.path, (pid, set()))[1].add(inside - mapping.start + mapping.offset)
        for path, (pid, offsets) in wanted.items():
            known = self._places.setdefault(path, {})
            new = offsets - known.keys()
            if new:
                known |= dict.fromkeys(new, ())
                known |= self._read_places(pid, path, new)

    def _read_places(self, pid: int, path: str, offsets: set[int]) -> dict[int, tuple[CodePlace, ...]]:
        for candidate in self._candidates(pid, path):
            try:
                file = BinaryFile(candidate)
            except MultiprobeError:
                continue
            with file:
                try:
                    return read_places_at(file, offsets, self.problems)
                except DataError as error:
                    self._unreadable.add(path)
                    self.problems.append(f"no inlined functions are shown: {error}")
            break
        return {}

    def frames(self, pid: int, address: int, inside: int) -> tuple[UserFrame, ...]:
        """The frame, and those of the functions that `find_inlined` found there, from the outermost on.

        inside: the address by which the frame is named
        """
        label = self._label(pid, address, inside)
        mapping = self._find(pid, inside)
        places = () if mapping is None else self._places_at(mapping, inside)
        if not places:
            return (UserFrame(label, ""),)
        assert mapping is not None
        *inlined, own = places
        file = os.path.basename(mapping.path)
        inner = (UserFrame(f"{self._name_of(one)} ({file}){INLINED}", str(one)) for one in reversed(inlined))
        return (UserFrame(label, str(own)), *inner)

    def _places_at(self, mapping: Mapping, inside: int) -> tuple[CodePlace, ...]:
        return self._places.get(mapping.path, {}).get(inside - mapping.start + mapping.offset, ())

    def _name_of(self, place: CodePlace) -> str:
        demangled = self._demangle(place.name)
        return demangled.name if demangled else place.name or "?"

    def _label(self, pid: int, address: int, inside: int) -> str:
        """`function (file)`, `file+0x1234`, or the bare address."""
        mapping = self._find(pid, inside)
        if mapping is None or not mapping.path.startswith("/"):
            return (mapping and mapping.path) or f"{address:#x}"
        start = mapping.start - mapping.offset
        file = os.path.basename(mapping.path)
        name = self._functions_of(pid, mapping.path).name(inside - start)
        return f"{name} ({file})" if name else f"{file}+{address - start:#x}"

    def _functions_of(self, pid: int, path: str) -> ElfFunctions:
        found = self._files.get(path)
        if found is None:
            data = b""
            for candidate in self._candidates(pid, path):
                try:
                    with open(candidate, "rb") as file:
                        data = file.read()
                    break
                except OSError:
                    continue
            found = self._files[path] = ElfFunctions(data)
        return found

    def _candidates(self, pid: int, path: str) -> tuple[str, str]:
        """Where the file of a mapping may be: a container has files of its own."""
        return f"{self._root}/{pid}/root{path}", path

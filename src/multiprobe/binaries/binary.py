"""`Binary`: a program or library, and the functions in it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from multiprobe.binaries.choosing import choose
from multiprobe.binaries.debug_files import build_id, open_debug_file, unpack_debugdata
from multiprobe.binaries.file import BinaryFile, check_kind
from multiprobe.binaries.go_symbols import read_go_symbols
from multiprobe.binaries.locating import find_binary, library_of, program_of
from multiprobe.binaries.rules import AT_RETURN
from multiprobe.binaries.symbols import SOURCES, read_symbols, read_variables
from multiprobe.binaries.table import build_table
from multiprobe.binaries.types import find_type, typed
from multiprobe.binaries.usdt import UsdtProbeSet
from multiprobe.binaries.usdt_notes import read_notes
from multiprobe.binaries.usdt_table import build_usdt_table, variables_of
from multiprobe.elf import PT_LOAD, SHT_SYMTAB, parse_entry, parse_sections, parse_segments
from multiprobe.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from multiprobe.binaries.naming import BinaryRequest
    from multiprobe.binaries.sets import UserFunctionSet
    from multiprobe.binaries.symbols import ElfSymbols
    from multiprobe.binaries.table import UserTable
    from multiprobe.binaries.usdt_table import UsdtTable
    from multiprobe.elf import ElfBytes, ElfSection, Segment
    from multiprobe.kernel.btf.types import Btf

MAX_CODE = 1 << 20


class Binary:
    """A program or library (an ELF file for this machine), whose functions can be selected.

    name: a path; or a library, as the loader finds it ("libc", "libssl.so.3"); or a program on PATH. A path through
        /proc/PID/root leads to the file of a container, with links followed there
    path: the path of the file, a text
    build_id: hexadecimal digits, or "" if it has none
    sources: where symbols were found: ".symtab", ".dynsym", ".gnu_debugdata", ".gopclntab", the path of a debug file
    table: all functions

    The file is read once, when the object is made, and not kept open. Symbols come from .symtab and .dynsym; if there
    is no .symtab, also from a separate debug file (by build id or .gnu_debuglink), from .gnu_debugdata, or from the
    table that programs in Go keep, .gopclntab.
    Raises NoMatchError if there is no such file, NotPermittedError without the right to read it, KernelError if it
    can't be opened, DataError if it is not a program or library of this machine, or is damaged; UsageError for a name
    that no file can have.
    """

    def __init__(self, name: str | os.PathLike[str]) -> None:
        self.path = find_binary(os.fspath(name))
        self._problems: list[str] = []
        self._types: dict[tuple[str, str], tuple[Btf, int]] = {}
        with BinaryFile(self.path) as file:
            try:
                check_kind(file, os.uname().machine)
                self.table = _read(file, self._problems)
            except DataError as error:
                raise error if self.path in str(error) else DataError(f"{self.path}: {error}") from error
        self.build_id = self.table.build_id
        self.sources = self.table.sources

    @classmethod
    def of(cls, pid: int, library: str = "") -> Binary:
        """The program of the process `pid`, or the `library` ("libc", "libpython3*") that it has mapped; also of one in
        a container.

        Raises NoMatchError if there is no such process or library, or the file was replaced since it was mapped,
        NotPermittedError without the right to look, UsageError for a number that is no pid; and what Binary raises.
        """
        return cls(library_of(pid, library) if library else program_of(pid))

    def functions(self, *patterns: str, unsafe: bool = False, types: bool = False) -> UserFunctionSet:
        """The functions that match any of `patterns`; all without one.

        patterns: a name, `name+0x10` (where an instruction begins), a glob `PyObject_*`, a `/regular expression/`;
            `!pattern` excludes its matches, at any position
        unsafe: allow probes at returns that may crash a program: in Go, and in files that throw exceptions
        types: read the types of the functions from DWARF: programs can use `ctx.args.NAME` then. Why there are none
            is in `problems`

        A function with several names is selected by each of them, once. A name selects all functions that have it.
        The order is that of addresses, or of the request if all patterns are names. Requests without a match are in
        the set's `unresolved`. Raises PatternError for an invalid pattern, DataError if the file has changed since.
        """
        table = self.table
        if unsafe:
            table = replace(table, facts=np.bitwise_and(table.facts, np.uint16(0xFFFF - AT_RETURN)))
        found = choose(table, patterns, code_of=self._code_of)
        return typed(found, self._problems) if types else found

    def find_type(self, word: str, name: str) -> tuple[Btf, int]:
        """A type of the file, from its DWARF: its id, and the types that belong to it. For `mp.struct(…, binary=)`.

        word: "struct", "union" or "enum"; name: also that of a typedef of one; `geometry::Point` in C++ and Rust
        Raises UsageError if there is no such type, NotSupportedError without DWARF or pyelftools, DataError for a
        damaged or changed file.
        """
        if (word, name) not in self._types:
            self._types[word, name] = find_type(self.path, self.table.key, word, name)
        return self._types[word, name]

    def usdt(self, *patterns: str) -> UsdtProbeSet:
        """The USDT probes that match any of `patterns`; all without one. Their notes are read when first asked for.

        patterns: a name, `provider:name`, or a glob or `/regular expression/` for either; `!pattern` excludes

        The order is that of names, or of the request if all patterns are names. Requests without a match are in the
        set's `unresolved`. Raises PatternError for an invalid pattern, DataError if the notes are damaged, or the file
        has changed since.
        """
        found = choose(self._usdt, patterns, code_of=self._code_of)
        assert isinstance(found, UsdtProbeSet)
        return found

    @cached_property
    def _usdt(self) -> UsdtTable:
        with self._open() as file:
            return read_usdt(file, build_id=self.build_id)

    def problems(self) -> list[str]:
        """What could not be used, a sentence each: debug files of another build, damaged debug information."""
        return list(self._problems)

    def __repr__(self) -> str:
        return f"<Binary {self.path}, {len(self.table):,} names from {', '.join(self.sources) or 'no symbols'}>"

    def _code_of(self, row: int) -> bytes:
        """The bytes of the function in a row of the table, 1 MiB at most."""
        start, size = int(self.table.offsets[row]), min(int(self.table.sizes[row]), MAX_CODE)
        with self._open() as file:
            return file[start : start + size]

    @contextmanager
    def _open(self) -> Iterator[BinaryFile]:
        """The file, open again. Raises DataError if it is another one by now."""
        with BinaryFile(self.path) as file:
            if file.key != self.table.key:
                raise DataError(f"{self.path} has changed since it was read", hint="make another mp.Binary")
            yield file


def read_usdt(file: BinaryFile, *, build_id: str) -> UsdtTable:
    """The USDT probes of a file. Raises DataError for damaged notes."""
    sections = parse_sections(file)
    try:
        notes = read_notes(file, sections)
    except DataError as error:
        raise DataError(f"{file.path}: {error}") from error
    variables = read_variables(file, sections, variables_of(notes))
    segments = parse_segments(file)
    return build_usdt_table(notes, segments, path=file.path, key=file.key, build_id=build_id, variables=variables)


def choose_requested(
    request: BinaryRequest, *, unsafe: bool = False, types: bool = False
) -> tuple[Binary, UserFunctionSet]:
    """A binary, and its functions or USDT probes that are meant by the patterns; options as for `Binary.functions`."""
    binary = Binary(request.binary)
    if request.is_usdt:
        return binary, binary.usdt(*request.patterns)
    return binary, binary.functions(*request.patterns, unsafe=unsafe, types=types)


def _read(file: BinaryFile, problems: list[str]) -> UserTable:
    sections = parse_sections(file)
    tables = read_symbols(file, sections)
    segments = _segments(file)
    if not any(section.kind == SHT_SYMTAB for section in sections):
        tables += _separate(file, sections, problems) or _of_go(file, sections, segments, problems)
    return build_table(
        tables,
        segments,
        sections,
        path=file.path,
        key=file.key,
        build_id=build_id(file, sections),
        entry=parse_entry(file),
    )


def _segments(file: BinaryFile) -> list[Segment]:
    """The segments. Raises DataError if one that is loaded reaches beyond the end of the file."""
    segments = parse_segments(file)
    for one in segments:
        if one.kind == PT_LOAD and one.offset + one.size > len(file):
            raise DataError(f"cut off at byte {len(file)}: a segment reaches to byte {one.offset + one.size}")
    return segments


def _of_go(
    file: BinaryFile, sections: Sequence[ElfSection], segments: Sequence[Segment], problems: list[str]
) -> list[ElfSymbols]:
    """The functions of a stripped program in Go."""
    try:
        found = read_go_symbols(file, sections, segments)
    except DataError as error:
        problems.append(f"{file.path}: {error}")
        return []
    return [found] if found is not None else []


def _separate(file: BinaryFile, sections: Sequence[ElfSection], problems: list[str]) -> list[ElfSymbols]:
    """The symbols of the debug file, else those of the mini debug information."""
    found = open_debug_file(file, sections, problems)
    try:
        if found is not None:
            with found:
                return _symtab_of(found, found.path)
        unpacked = unpack_debugdata(file, sections)
        return _symtab_of(unpacked, ".gnu_debugdata") if unpacked else []
    except DataError as error:
        problems.append(f"{file.path}: {error}")
        return []


def _symtab_of(data: ElfBytes, source: str) -> list[ElfSymbols]:
    """The functions in .symtab of another ELF file, said to be from `source`."""
    tables = read_symbols(data, parse_sections(data))
    return [replace(table, source=source) for table in tables if table.source == SOURCES[SHT_SYMTAB]]

"""Reads `.gopclntab`, the table of functions that Go programs keep for their run time, also when stripped. Pure.

Sources: src/debug/gosym/pclntab.go, src/runtime/symtab.go and src/cmd/link/internal/ld/pcln.go of Go.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct, unpack_from
from typing import TYPE_CHECKING

import numpy as np

from multiprobe.binaries.symbols import MAX_SYMBOLS, ElfSymbols, parse_names
from multiprobe.elf import PT_LOAD
from multiprobe.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from multiprobe.elf import ElfBytes, ElfSection, Segment

SOURCE = ".gopclntab"
SECTIONS = (SOURCE, ".data.rel.ro.gopclntab")
MODULE = ".go.module"
"""The section of the run time's `moduledata`, in Go 1.26 and later."""
_MODULE_TEXT = 22
"""Which word of `moduledata` is the address of runtime.text."""
_GO_1_2, _GO_1_16, _GO_1_18, _GO_1_20 = 0xFFFFFFFB, 0xFFFFFFFA, 0xFFFFFFF0, 0xFFFFFFF1
_HEADER_SIZE = 8 * 9
_RELATIVE = (8, 1027)
"""R_X86_64_RELATIVE, R_AARCH64_RELATIVE: the loader adds the file's address to the addend."""
_RELOCATION = np.dtype([("place", "<u8"), ("kind", "<u4"), ("symbol", "<u4"), ("addend", "<u8")])
_WORD = Struct("<Q")


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where a version of the table has what.

    names, functions: the words of the header with the offsets of the names and of the functions; None for the table's
    start, and for what follows the header; text: the word that is the address of runtime.text, None without one
    entry: bytes of an address and of an offset in the list of functions
    """

    names: int | None
    functions: int | None
    text: int | None
    entry: int


_LAYOUTS = {
    _GO_1_2: _Layout(None, None, None, 8),
    _GO_1_16: _Layout(2, 6, None, 8),
    _GO_1_18: _Layout(3, 7, 2, 4),
    _GO_1_20: _Layout(3, 7, 2, 4),
}


def read_go_symbols(data: ElfBytes, sections: Sequence[ElfSection], segments: Sequence[Segment]) -> ElfSymbols | None:
    """The functions of a program in Go; None if it isn't one. Raises DataError for a damaged or unknown table."""
    section = next((one for one in sections if one.name in SECTIONS), None)
    if section is None:
        return None
    table = data[section.offset : section.offset + section.size]
    if len(table) < _HEADER_SIZE:
        raise DataError(f"{SOURCE} is cut off at byte {len(table)}")
    magic, quantum, word_size = unpack_from("<IxxBB", table)
    layout = _LAYOUTS.get(magic)
    if layout is None or word_size != _WORD.size or quantum not in (1, 4):
        raise DataError(f"{SOURCE} is of a version of Go that is not known (magic {magic:#x})")
    text = 0 if layout.text is None else _text_start(data, sections, segments, section.address + 8 + 8 * layout.text)
    return _read(table, layout, text)


def _read(table: bytes, layout: _Layout, text: int) -> ElfSymbols:
    n = _word(table, 0)
    names_at = 0 if layout.names is None else _word(table, layout.names)
    base = 0 if layout.functions is None else _word(table, layout.functions)
    first = 16 if layout.functions is None else base
    if n > MAX_SYMBOLS:
        raise DataError(f"{SOURCE} has {n:,} functions: more than {MAX_SYMBOLS:,} are not read")
    if first + (2 * n + 1) * layout.entry > len(table) or names_at > len(table):
        raise DataError(f"{SOURCE} is cut off at byte {len(table):,}: its {n:,} functions reach beyond that")
    entries = np.frombuffer(table, f"<u{layout.entry}", 2 * n + 1, first).astype(np.uint64)
    starts, ends = entries[:-1:2], entries[2::2]
    name_offsets = _names(table, base, entries[1::2], layout.entry)
    return ElfSymbols(
        SOURCE,
        parse_names(table[names_at:], name_offsets.tolist()),
        starts + np.uint64(text),
        np.where(ends > starts, ends - starts, np.uint64(0)),
        np.zeros(n, np.uint8),
        np.zeros(n, np.bool_),
        np.zeros(n, np.bool_),
        frozenset(),
    )


def _word(table: bytes, n: int) -> int:
    """The n-th word behind the first 8 bytes of the header."""
    found: int = _WORD.unpack_from(table, 8 + 8 * n)[0]
    return found


def _names(table: bytes, base: int, offsets: NDArray[np.uint64], entry_size: int) -> NDArray[np.int64]:
    """Where the name of each function begins in the names; its description, at an offset, says it after the address."""
    if len(offsets) and int(offsets.max()) + base + entry_size + 4 > len(table):
        raise DataError(f"{SOURCE} is cut off at byte {len(table):,}: a function's description is behind that")
    at = offsets.astype(np.int64) + (base + entry_size)
    raw = np.frombuffer(table, np.uint8)[at[:, None] + np.arange(4)]
    found: NDArray[np.int64] = np.ascontiguousarray(raw).view("<u4").ravel().astype(np.int64)
    return found


def _text_start(data: ElfBytes, sections: Sequence[ElfSection], segments: Sequence[Segment], header_word: int) -> int:
    """The address of runtime.text, from which addresses count: with cgo, not that of .text.

    Go 1.26 and later leave it out of the header.
    """
    module = next((one for one in sections if one.name == MODULE and one.size >= 8 * (_MODULE_TEXT + 1)), None)
    places = [header_word] + ([module.address + 8 * _MODULE_TEXT] if module else [])
    found = next((start for place in places if (start := _pointer_at(data, sections, segments, place))), None)
    if found is None:
        raise DataError(f"{SOURCE} does not say where its functions begin")
    return found


def _pointer_at(data: ElfBytes, sections: Sequence[ElfSection], segments: Sequence[Segment], address: int) -> int:
    """The pointer at an address, as the loader makes it in a file that isn't moved; 0 if there is none."""
    for segment in segments:
        if segment.kind == PT_LOAD and segment.address <= address <= segment.address + segment.size - 8:
            at = address - segment.address + segment.offset
            word = data[at : at + 8]
            found: int = _WORD.unpack(word)[0] if len(word) == _WORD.size else 0
            return found or _addend(data, sections, address)
    return 0


def _addend(data: ElfBytes, sections: Sequence[ElfSection], address: int) -> int:
    for section in sections:
        if section.name == ".rela.dyn":
            table = data[section.offset : section.offset + section.size]
            listed = np.frombuffer(table, _RELOCATION, len(table) // _RELOCATION.itemsize)
            found = listed["addend"][(listed["place"] == address) & np.isin(listed["kind"], _RELATIVE)]
            return int(found[0]) if len(found) else 0
    return 0

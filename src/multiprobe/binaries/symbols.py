"""Reads the function symbols of an ELF file as columns, also of a hostile one. Pure, but for the slices it asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from multiprobe.elf import SHT_DYNSYM, SHT_SYMTAB
from multiprobe.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from multiprobe.elf import ElfBytes, ElfSection

SYMBOL = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")]
)
SOURCES = {SHT_SYMTAB: ".symtab", SHT_DYNSYM: ".dynsym"}
MAX_SYMBOLS = 1 << 22
MAX_NAMES = 1 << 28
"""The most bytes of all names together: names of a hostile file overlap."""
_OBJECT, _FUNC, _IFUNC = 1, 2, 10
_BINDINGS = np.array([2, 0, 1, *[3] * 13], np.uint8)  # STB_LOCAL, STB_GLOBAL, STB_WEAK, others


@dataclass(frozen=True, slots=True)
class ElfSymbols:
    """The functions of one symbol table; columns of the same length.

    source: where they are from, as ".symtab"
    names: without versions; addresses, sizes: uint64, in bytes
    bindings: uint8, 0 for global, 1 for weak, more for others; is_ifunc: of an indirect function, bool
    is_stub: of a function of another file, where the value is the address of its PLT stub, bool
    imported: the names of functions of other files
    """

    source: str
    names: list[str]
    addresses: NDArray[np.uint64]
    sizes: NDArray[np.uint64]
    bindings: NDArray[np.uint8]
    is_ifunc: NDArray[np.bool_]
    is_stub: NDArray[np.bool_]
    imported: frozenset[str]


def read_symbols(data: ElfBytes, sections: Sequence[ElfSection]) -> list[ElfSymbols]:
    """The symbols of each table, .symtab first. Raises DataError for tables that are impossible or far too large."""
    tables = sorted((one for one in sections if one.kind in SOURCES), key=lambda one: one.kind)
    return [_read_table(data, sections, table) for table in tables]


def _read_rows(data: ElfBytes, sections: Sequence[ElfSection], table: ElfSection) -> tuple[NDArray[np.void], bytes]:
    """The symbols of a table, and the strings that their names are in."""
    source = SOURCES[table.kind]
    n = table.size // SYMBOL.itemsize
    if n > MAX_SYMBOLS:
        raise DataError(f"{source} has {n:,} symbols: more than {MAX_SYMBOLS:,} are not read")
    if table.link >= len(sections):
        raise DataError(f"the names of {source} are in section {table.link} of {len(sections)}")
    strings = sections[table.link]
    symbols = np.frombuffer(data[table.offset : table.offset + n * SYMBOL.itemsize], SYMBOL)
    return symbols, data[strings.offset : strings.offset + strings.size]


def _read_table(data: ElfBytes, sections: Sequence[ElfSection], table: ElfSection) -> ElfSymbols:
    symbols, text = _read_rows(data, sections, table)
    kinds = symbols["info"] & 15
    functions = symbols[(kinds == _FUNC) | (kinds == _IFUNC)]
    is_here = (functions["section"] != 0) | (functions["value"] != 0)
    imported = parse_names(text, functions["name"][functions["section"] == 0].tolist())
    return _columns(SOURCES[table.kind], functions[is_here], text, frozenset(imported))


def _columns(source: str, functions: NDArray[np.void], text: bytes, imported: frozenset[str]) -> ElfSymbols:
    return ElfSymbols(
        source,
        parse_names(text, functions["name"].tolist()),
        functions["value"].astype(np.uint64),
        functions["size"].astype(np.uint64),
        _BINDINGS[functions["info"] >> 4],
        functions["info"] & 15 == _IFUNC,
        functions["section"] == 0,
        imported,
    )


def read_variables(data: ElfBytes, sections: Sequence[ElfSection], names: Collection[str]) -> dict[str, int]:
    """The addresses of the variables with these names, those that the symbols of the file tell."""
    found: dict[str, int] = {}
    for table in (one for one in sections if one.kind in SOURCES) if names else ():
        symbols, text = _read_rows(data, sections, table)
        variables = symbols[(symbols["info"] & 15 == _OBJECT) & (symbols["section"] != 0)]
        listed = zip(parse_names(text, variables["name"].tolist()), variables["value"].tolist(), strict=True)
        found = {name: address for name, address in listed if name in names} | found
    return found


def parse_names(strings: bytes, offsets: Sequence[int]) -> list[str]:
    """The names at `offsets` of a string table, without versions (`memcpy@@GLIBC_2.14`), "" where there is none."""
    names, n_bytes = [], 0
    for start in offsets:
        end = strings.find(b"\0", start)
        n_bytes += max(0, end - start)
        if n_bytes > MAX_NAMES:
            raise DataError(f"the names of its symbols have more than {MAX_NAMES:,} bytes")
        name = strings[start:end] if end > start else b""
        if b"@" in name:
            name = name.partition(b"@")[0] or name
        names.append(name.decode(errors="surrogateescape"))
    return names

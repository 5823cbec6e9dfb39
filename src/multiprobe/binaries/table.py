"""`UserTable`: all names of all functions of one file, as columns in the order of addresses. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from multiprobe.binaries import rules
from multiprobe.binaries.code import instruction_kinds
from multiprobe.binaries.demangling import Demangler, is_mangled, word_of
from multiprobe.elf import PF_X, PT_LOAD, SHT_NOBITS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from multiprobe.binaries.instructions import Kind
    from multiprobe.binaries.prototypes import UserTypes
    from multiprobe.binaries.symbols import ElfSymbols
    from multiprobe.elf import ElfBytes, ElfSection, Segment

T = TypeVar("T", bound=np.generic)
_OF_GO = (".gopclntab", ".data.rel.ro.gopclntab", ".go.buildinfo")
_OF_EXCEPTIONS = frozenset(("__gxx_personality_v0", "__cxa_throw", "_Unwind_RaiseException", "rust_eh_personality"))


@dataclass(frozen=True)
class UserTable:
    """A row for each name of each function; names of the same function stand together, the best one first.

    path, build_id: of the file; key: by which two readings are of the same file
    names, source_of: of each row its name, and the place in `sources` of the table that named it
    addresses: as in the symbols; offsets: in the file; sizes: in bytes, 0 if unknown; all uint64
    facts: uint16, bits of `rules`; originals: int64, the first row of the same function
    imported: the names of functions that the file takes from others
    types: of the functions that were chosen, if they were asked for
    """

    path: str
    key: tuple[int, ...]
    build_id: str
    sources: tuple[str, ...]
    names: list[str]
    source_of: NDArray[np.uint8]
    addresses: NDArray[np.uint64]
    offsets: NDArray[np.uint64]
    sizes: NDArray[np.uint64]
    facts: NDArray[np.uint16]
    originals: NDArray[np.int64]
    imported: frozenset[str]
    types: UserTypes | None = None
    kind = "function"

    @property
    def identity(self) -> tuple[object, ...]:
        """What tells the table from others: equal ones are of the same file."""
        return self.key

    def __len__(self) -> int:
        return len(self.names)

    @staticmethod
    def columns(places: Sequence[tuple[int, int]]) -> tuple[NDArray[np.intp], NDArray[np.uint64]]:
        """The rows of places, and the offsets of their probes."""
        flat = np.fromiter(chain.from_iterable(places), np.uint64, 2 * len(places))
        return flat[::2].astype(np.intp), flat[1::2]

    @cached_property
    def rows_by_name(self) -> dict[str, list[int]]:
        """The rows of every name, in order."""
        found: dict[str, list[int]] = {}
        for row, name in enumerate(self.names):
            found.setdefault(name, []).append(row)
        return found

    @cached_property
    def has_mangled(self) -> bool:
        """Whether symbols of C++ or Rust are among the names."""
        return any(map(is_mangled, self.names))

    @cached_property
    def demangle(self) -> Demangler:
        """Demangles names of this file, each once."""
        return Demangler()

    def rows_named(self, name: str) -> list[int]:
        """The rows that have this name, as a symbol, or demangled: with or without parameters, template arguments."""
        return self.rows_by_name.get(name) or self.rows_demangled(name, name.__eq__)

    def rows_demangled(self, glob: str, fits: Callable[[str], object]) -> list[int]:
        """The rows whose demangled names fit. `glob`: by which symbols that can't fit are told at once, or ""."""
        if not self.has_mangled or is_mangled(glob):
            return []
        word = word_of(glob)
        found = ((row, self.demangle(name)) for row, name in enumerate(self.names) if word in name)
        return [row for row, one in found if one is not None and any(map(fits, one.spellings))]

    @cached_property
    def extent(self) -> tuple[int, int]:
        """The file offsets at which the first function begins and the last one ends; (0, 0) without functions."""
        has_code = self.facts & rules.NO_CODE == 0
        begins = self.offsets[has_code]
        return (int(begins.min()), int((begins + self.sizes[has_code]).max())) if len(begins) else (0, 0)

    def instruction_kinds(self, file: ElfBytes, offsets: Sequence[int]) -> dict[int, Kind]:
        """The places in `offsets` at which a kernel may take the instruction for another one, each with its kind."""
        return instruction_kinds(file, offsets)

    def family(self, row: int) -> range:
        """The rows of all names of the function in `row`."""
        first = int(self.originals[row])
        return range(first, int(np.searchsorted(self.originals, first, side="right")))


def build_table(
    tables: Sequence[ElfSymbols],
    segments: Sequence[Segment],
    sections: Sequence[ElfSection],
    *,
    path: str = "",
    key: tuple[int, ...] = (),
    build_id: str = "",
    entry: int = 0,
) -> UserTable:
    """The table of a file: `segments` and `sections` are the file's own, `tables` also those of its debug file.

    entry: the address at which the file begins to run, or 0
    """
    names, source_of, picked = _without_repeats(tables)
    addresses = _join(picked, [one.addresses for one in tables], np.uint64)
    bindings = _join(picked, [one.bindings for one in tables], np.uint8)
    underscores = np.array([len(name) - len(name.lstrip("_")) for name in names], np.int64)
    order = np.lexsort((underscores, bindings, addresses))
    sorted_addresses = addresses[order]
    offsets, has_code = file_offsets(sorted_addresses, segments)
    is_ifunc = _join(picked, [one.is_ifunc for one in tables], np.bool_)[order]
    is_stub = _join(picked, [one.is_stub for one in tables], np.bool_)[order] | _in_plt(sorted_addresses, sections)
    sorted_names = [names[place] for place in order.tolist()]
    originals = np.searchsorted(sorted_addresses, sorted_addresses).astype(np.int64)
    facts = is_ifunc * rules.IFUNC | is_stub * rules.STUB | ~has_code * rules.NO_CODE | _language(tables, sections)
    is_entry = (sorted_addresses == entry) & bool(entry)
    return UserTable(
        path,
        key,
        build_id,
        tuple(one.source for one in tables),
        sorted_names,
        source_of[order],
        sorted_addresses,
        offsets,
        _join(picked, [one.sizes for one in tables], np.uint64)[order],
        (facts | is_entry * rules.NOT_CALLED | _told_by_names(sorted_names, originals)).astype(np.uint16),
        originals,
        frozenset[str]().union(*(one.imported for one in tables)),
    )


def _language(tables: Iterable[ElfSymbols], sections: Iterable[ElfSection]) -> np.uint16:
    """The fact GO if the file has the line table of Go's run time, THROWS if it has or uses that of exceptions."""
    throws = any(not _OF_EXCEPTIONS.isdisjoint(names) for table in tables for names in (table.imported, table.names))
    is_go = any(one.name in _OF_GO for one in sections)
    return np.uint16((rules.GO if is_go else 0) | (rules.THROWS if throws else 0))


def _told_by_names(names: Sequence[str], originals: NDArray[np.int64]) -> NDArray[np.uint16]:
    """The facts that the names of functions tell; all names of a function have those of any."""
    own = np.fromiter((rules.FACTS_OF_NAMES.get(name, 0) for name in names), np.uint16, len(names))
    together = np.zeros_like(own)
    np.bitwise_or.at(together, originals, own)
    return together[originals]


def _join(picked: Sequence[NDArray[np.int64]], columns: Iterable[NDArray[T]], kind: type[T]) -> NDArray[T]:
    """One column of all tables: of each the picked items."""
    parts = [column[items] for column, items in zip(columns, picked, strict=True)]
    return np.concatenate(parts) if parts else np.empty(0, kind)


def _without_repeats(tables: Sequence[ElfSymbols]) -> tuple[list[str], NDArray[np.uint8], list[NDArray[np.int64]]]:
    """Names, the table of each, and which items of each table they are: none twice for one address, none empty."""
    seen: set[tuple[int, str]] = set()
    names: list[str] = []
    picked: list[NDArray[np.int64]] = []
    for table in tables:
        items = []
        for item, function in enumerate(zip(table.addresses.tolist(), table.names, strict=True)):
            if function not in seen and function[1]:
                seen.add(function)
                items.append(item)
                names.append(function[1])
        picked.append(np.array(items, np.int64))
    counts = [len(items) for items in picked]
    return names, np.repeat(np.arange(len(tables), dtype=np.uint8), counts), picked


def file_offsets(
    addresses: NDArray[np.uint64], segments: Iterable[Segment]
) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Where each address is in the file, and whether it is in an executable segment (else the offset is 0)."""
    offsets = np.zeros(len(addresses), np.uint64)
    has_code = np.zeros(len(addresses), np.bool_)
    for segment in segments:
        if segment.kind == PT_LOAD and segment.flags & PF_X:
            inside = (addresses >= np.uint64(segment.address)) & (
                addresses - np.uint64(segment.address) < np.uint64(segment.size)
            )
            offsets[inside] = addresses[inside] - np.uint64(segment.address) + np.uint64(segment.offset)
            has_code |= inside
    return offsets, has_code


def _in_plt(addresses: NDArray[np.uint64], sections: Iterable[ElfSection]) -> NDArray[np.bool_]:
    found = np.zeros(len(addresses), np.bool_)
    for one in sections:
        if one.kind != SHT_NOBITS and (one.name == ".plt" or one.name.startswith(".plt.")):
            begin = np.uint64(one.address)
            found |= (addresses >= begin) & (addresses - begin < np.uint64(one.size))
    return found

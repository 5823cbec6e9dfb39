"""The functions that stripped programs in Go keep in .gopclntab, of each version, and damaged tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from struct import pack, pack_into

import pytest
from elf_writer import BASE, Made, make_elf

from multiprobe.binaries import go_symbols
from multiprobe.binaries.binary import Binary
from multiprobe.binaries.go_symbols import read_go_symbols
from multiprobe.binaries.symbols import ElfSymbols
from multiprobe.elf import PT_LOAD, ElfSection, Segment
from multiprobe.errors import DataError

FUNCTIONS = [("main.main", 0, 16), ("main.(*Shop).Sell", 16, 32), ("runtime.rt0_go", 48, 16)]
"""Name, distance from runtime.text, size."""
TABLE, MODULE = 0x2000, 0x4000
MAGICS = {"1.2": 0xFFFFFFFB, "1.16": 0xFFFFFFFA, "1.18": 0xFFFFFFF0, "1.20": 0xFFFFFFF1}


def pclntab(version: str, *, text: int = BASE, said: int | None = None) -> bytes:
    """A table of FUNCTIONS. `said`: the address of runtime.text in the header, if it is another one there."""
    is_old, has_header = version in ("1.2", "1.16"), version != "1.2"
    width, start = (8, text) if is_old else (4, 0)
    end = FUNCTIONS[-1][1] + FUNCTIONS[-1][2]
    n = len(FUNCTIONS)
    names, name_offsets = b"\0", []
    for name, _, _ in FUNCTIONS:
        name_offsets.append(len(names))
        names += name.encode() + b"\0"
    n_words = {"1.2": 1, "1.16": 7}.get(version, 8)
    names_at = 8 + 8 * n_words
    list_at = names_at + len(names) if has_header else 16
    list_size = (2 * n + 1) * width
    base = list_at if has_header else 0
    if not has_header:
        names_at = list_at + list_size
        name_offsets = [names_at + one for one in name_offsets]
    described_at = list_at + list_size + (0 if has_header else len(names))
    entries, described = [], b""
    for (_, distance, _), name_offset in zip(FUNCTIONS, name_offsets, strict=True):
        entries += [start + distance, described_at + len(described) - base]
        described += (start + distance).to_bytes(width, "little") + pack("<i", name_offset)
    listed = b"".join(one.to_bytes(width, "little") for one in [*entries, start + end])
    header = bytearray(pack("<IHBB", MAGICS[version], 0, 1, 8) + bytes(8 * n_words))
    pack_into("<Q", header, 8, n)
    if has_header:
        words = {"1.16": {2: names_at, 6: base}}.get(version, {2: text if said is None else said, 3: names_at, 7: base})
        for place, word in words.items():
            pack_into("<Q", header, 8 + 8 * place, word)
    parts = [header, names, listed, described] if has_header else [header, listed, names, described]
    return b"".join(parts)


def read(table: bytes, *, module: bytes = b"", relocations: bytes = b"", name: str = ".gopclntab") -> ElfSymbols:
    sections = [ElfSection(name, 1, 0, len(table), 0, TABLE)]
    if module:
        sections.append(ElfSection(".go.module", 1, len(table), len(module), 0, MODULE))
    sections.append(ElfSection(".rela.dyn", 4, len(table) + len(module), len(relocations), 0, 0))
    segments = [Segment(PT_LOAD, 0, TABLE, len(table)), Segment(PT_LOAD, len(table), MODULE, len(module))]
    found = read_go_symbols(table + module + relocations, sections, segments)
    assert found is not None
    return found


def check(found: ElfSymbols, text: int = BASE) -> None:
    each = zip(found.names, found.addresses.tolist(), found.sizes.tolist(), strict=True)
    assert list(each) == [(name, text + distance, size) for name, distance, size in FUNCTIONS]


@pytest.mark.parametrize("version", MAGICS)
def test_every_version(version: str) -> None:
    check(read(pclntab(version)))


def test_the_text_begins_where_the_header_says() -> None:
    """With cgo, C code lies between the start of .text and runtime.text."""
    check(read(pclntab("1.20", text=BASE + 0x5000)), BASE + 0x5000)


def test_the_text_begins_where_the_module_says() -> None:
    module = bytes(8 * 22) + pack("<Q", 0x7000) + bytes(64)
    check(read(pclntab("1.20", said=0), module=module), 0x7000)


@pytest.mark.parametrize("kind", [8, 1027])
def test_the_text_begins_where_a_relocation_says(kind: int) -> None:
    """In files that are loaded anywhere (PIE), the loader writes the address."""
    other = pack("<QIIQ", 0x9000, kind, 0, 5)
    check(read(pclntab("1.18", said=0), relocations=other + pack("<QIIQ", TABLE + 24, kind, 0, 0x7000)), 0x7000)
    module = bytes(8 * 23)
    of_module = pack("<QIIQ", MODULE + 8 * 22, kind, 0, 0x8000)
    check(read(pclntab("1.20", said=0), module=module, relocations=other + of_module), 0x8000)


def test_where_the_text_begins_is_not_known() -> None:
    with pytest.raises(DataError, match="does not say where its functions begin"):
        read(pclntab("1.20", said=0))


@pytest.mark.parametrize("version", MAGICS)
def test_tables_that_are_cut_off(version: str) -> None:
    table = pclntab(version)
    for size in range(len(table)):
        try:
            read(table[:size])
        except DataError:
            continue
        assert size > len(table) - 4, "all names are there"


@pytest.mark.parametrize(
    ("place", "data"), [(0, b"\xf2"), (7, b"\4"), (6, b"\3"), (8, b"\xff" * 8), (32, b"\xff" * 8), (64, b"\xff" * 8)]
)
def test_tables_that_are_damaged(place: int, data: bytes) -> None:
    table = bytearray(pclntab("1.20"))
    table[place : place + len(data)] = data
    with pytest.raises(DataError, match="gopclntab"):
        read(bytes(table))


def test_no_more_functions_than_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(go_symbols, "MAX_SYMBOLS", 2)
    with pytest.raises(DataError, match="has 3 functions: more than 2"):
        read(pclntab("1.20"))


def test_a_stripped_program(write: Callable[..., Path]) -> None:
    binary = Binary(write(make_elf(None, [Made("main", 5)], extra={".gopclntab": pclntab("1.16")})))
    assert binary.sources == (".dynsym", ".gopclntab")
    (sell,) = binary.functions("main.(*Shop).Sell")
    assert (sell.address, sell.size, sell.source) == (BASE + 16, 32, ".gopclntab")
    assert [str(one) for one in binary.functions("main.*")] == ["main.main", "main.(*Shop).Sell"]
    assert {one.code for one in binary.functions().refusals(when="return")} == {"go_return"}


def test_a_program_with_its_symbols_needs_no_table(write: Callable[..., Path]) -> None:
    binary = Binary(write(make_elf([Made("main.main", 0)], extra={".gopclntab": pclntab("1.16")})))
    assert binary.sources == (".symtab",)


def test_a_damaged_table_leaves_the_others(write: Callable[..., Path]) -> None:
    binary = Binary(write(make_elf(None, [Made("main", 5)], extra={".gopclntab": b"x" * 200})))
    assert [str(one) for one in binary.functions()] == ["main"]
    assert "a version of Go that is not known" in binary.problems()[0]

"""ELF files: made here and by LLVM, cut off, and hostile."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multiprobe import elf
from multiprobe.elf import ElfSection, Segment
from multiprobe.errors import DataError
from multiprobe.instruments.stacks.user_symbols import ElfFunctions
from multiprobe.vm.initramfs import is_static

STRINGS = b"\0.text\0.names\0.bss\0"
CODE = b"\x95" + bytes(7)


def program() -> bytes:
    """One segment, and the sections null, .text, .bss (with no bytes in the file) and .names."""
    code_at, strings_at = 64 + 56, 64 + 56 + len(CODE)
    table = strings_at + len(STRINGS)
    header = pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 247, 1, 0, 64, table, 0, 64, 56, 1, 64, 4, 3)
    segment = pack("<IIQQQQQQ", 1, 5, code_at, 0x400000, 0, len(CODE), len(CODE), 4096)
    sections = [
        (0, 0, 0, 0, 0),
        (1, 1, code_at, len(CODE), 0),
        (14, 8, code_at, 1 << 40, 0),
        (7, 3, strings_at, len(STRINGS), 0),
    ]
    made = [pack("<IIQQQQIIQQ", name, kind, 0, 0, at, size, link, 0, 0, 0) for name, kind, at, size, link in sections]
    return header + segment + CODE + STRINGS + b"".join(made)


def test_a_file() -> None:
    data = program()
    assert elf.machine(data) == elf.EM_BPF
    assert elf.parse_segments(data) == [Segment(elf.PT_LOAD, 120, 0x400000, 8, 5)]
    assert elf.parse_sections(data)[1] == ElfSection(".text", 1, 120, 8, 0)
    assert elf.contents(data)[".text"] == CODE
    assert elf.contents(data)[".names"] == STRINGS
    assert elf.segments_end(data) == 120


def test_a_real_file_has_what_every_program_has() -> None:
    data = Path(sys.executable).resolve().read_bytes()
    names = [section.name for section in elf.parse_sections(data)]
    assert {".text", ".dynsym", ".dynstr"} <= set(names)
    assert any(segment.kind == elf.PT_LOAD for segment in elf.parse_segments(data))
    assert not is_static(data)


def test_every_cut_is_noticed() -> None:
    data = program()
    for end in range(len(data)):
        with pytest.raises(DataError, match=r"not a 64-bit|cut off"):
            elf.machine(data[:end])


def put(data: bytes, at: int, *new: int) -> bytes:
    return data[:at] + bytes(new) + data[at + len(new) :]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a 64-bit little-endian ELF file"),
        (put(program(), 4, 1), "not a 64-bit"),  # 32 bits
        (put(program(), 58, 8), "4 section headers of 8 bytes each"),
        (put(program(), 62, 9), "section with names is number 9 of 4"),
        (put(program(), 60, 0xFF, 0xFF), "its 65535 section headers reach to byte"),
        (put(program(), 147 + 64, 99), "no string ends after byte 99"),
    ],
)
def test_what_is_wrong_with_a_file(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        elf.contents(data)


@given(st.binary(max_size=400), st.integers(0, 63))
def test_any_bytes_are_read_or_refused(data: bytes, kept: int) -> None:
    for file in (data, b"\x7fELF\x02\x01" + data, program()[:kept] + data, put(program(), kept, *data[:8])):
        for read in (elf.parse_segments, elf.parse_sections, elf.machine, elf.contents, elf.segments_end):
            with suppress(DataError):
                read(file)
        assert ElfFunctions(file).name(1 << 60) == ""
        assert is_static(file) in (True, False)

"""Files: separate symbols, everything that is no program of this machine, and hostile files."""

from __future__ import annotations

import lzma
import os
import stat
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import pytest
from elf_writer import IFUNC, Made, build_id_note, make_elf

from multiprobe.binaries import file as binary_file
from multiprobe.binaries.binary import Binary
from multiprobe.binaries.debug_files import MAX_UNPACKED, unpack_debugdata
from multiprobe.binaries.symbols import MAX_NAMES, parse_names
from multiprobe.elf import parse_sections
from multiprobe.errors import DataError, KernelError, NoMatchError, NotPermittedError, UsageError

Write = Callable[..., Path]
DIGEST = bytes(range(20))
ID = DIGEST.hex()
PUBLIC = [Made("work", 0)]
HIDDEN = [*PUBLIC, Made("inner", 1)]


def sources(binary: Binary) -> dict[str, str]:
    return {function.name: function.source for function in binary.functions()}


def debug_link(name: str, contents: bytes) -> bytes:
    padded = name.encode() + b"\0"
    return padded + bytes(-len(padded) % 4) + struct.pack("<I", crc32(contents))


# -- where symbols come from


def test_a_debug_file_by_build_id(write: Write, debug_root: Path) -> None:
    note = {".note.gnu.build-id": build_id_note(DIGEST)}
    path = debug_root / ".build-id" / ID[:2] / f"{ID[2:]}.debug"
    path.parent.mkdir(parents=True)
    path.write_bytes(make_elf(HIDDEN, extra=note))
    binary = Binary(write(make_elf(None, PUBLIC, extra=note)))
    assert binary.build_id == ID
    assert sources(binary) == {"work": ".dynsym", "inner": str(path)}
    assert not binary.problems()


def test_a_debug_file_of_another_build_is_not_believed(write: Write, debug_root: Path) -> None:
    path = debug_root / ".build-id" / ID[:2] / f"{ID[2:]}.debug"
    path.parent.mkdir(parents=True)
    path.write_bytes(make_elf(HIDDEN, extra={".note.gnu.build-id": build_id_note(DIGEST[::-1])}))
    binary = Binary(write(make_elf(None, PUBLIC, extra={".note.gnu.build-id": build_id_note(DIGEST)})))
    assert sources(binary) == {"work": ".dynsym"}
    (problem,) = binary.problems()
    assert problem == f"{path} is of another build than {binary.path}, and was not used"


@pytest.mark.parametrize("folder", [".", ".debug", "{root}{folder}"])
def test_a_debug_file_by_debuglink(write: Write, debug_root: Path, tmp_path: Path, folder: str) -> None:
    contents = make_elf(HIDDEN)
    place = tmp_path / folder.format(root=debug_root, folder=tmp_path)
    place.mkdir(parents=True, exist_ok=True)
    (place / "program.debug").write_bytes(contents)
    binary = Binary(write(make_elf(None, PUBLIC, extra={".gnu_debuglink": debug_link("program.debug", contents)})))
    assert sources(binary)["inner"].endswith("program.debug")


@pytest.mark.parametrize("name", ["../secret", "program", "..", ""])
def test_a_debuglink_leads_nowhere_else(write: Write, debug_root: Path, tmp_path: Path, name: str) -> None:
    (tmp_path.parent / "secret").write_bytes(make_elf(HIDDEN))
    link = debug_link(name, make_elf(HIDDEN))
    assert sources(Binary(write(make_elf(None, PUBLIC, extra={".gnu_debuglink": link})))) == {"work": ".dynsym"}


def test_a_wrong_checksum(write: Write, debug_root: Path) -> None:
    write(make_elf(HIDDEN), "program.debug")
    binary = Binary(write(make_elf(None, PUBLIC, extra={".gnu_debuglink": debug_link("program.debug", b"other")})))
    assert sources(binary) == {"work": ".dynsym"}
    assert "is of another build" in binary.problems()[0]


def test_mini_debug_information(write: Write, debug_root: Path) -> None:
    packed = lzma.compress(make_elf(HIDDEN))
    assert sources(Binary(write(make_elf(None, PUBLIC, extra={".gnu_debugdata": packed})))) == {
        "work": ".dynsym",
        "inner": ".gnu_debugdata",
    }


@pytest.mark.parametrize(
    ("packed", "problem"),
    [
        (b"no xz at all", "can't be decompressed"),
        (lzma.compress(make_elf(HIDDEN))[:-20], "cut off"),
        (lzma.compress(b"no ELF file"), "not a 64-bit"),
        (lzma.compress(bytes(MAX_UNPACKED + 1)), "unpacks to more than"),
    ],
    ids=["no xz", "cut off", "no ELF", "bomb"],
)
def test_damaged_mini_debug_information_is_told(write: Write, debug_root: Path, packed: bytes, problem: str) -> None:
    binary = Binary(write(make_elf(None, PUBLIC, extra={".gnu_debugdata": packed})))
    assert sources(binary) == {"work": ".dynsym"}
    assert problem in binary.problems()[0]


def test_the_own_symbol_table_comes_first(write: Write, debug_root: Path) -> None:
    binary = Binary(write(make_elf(HIDDEN, PUBLIC, extra={".gnu_debugdata": b"damaged, but not needed"})))
    assert sources(binary) == {"work": ".symtab", "inner": ".symtab"}
    assert not binary.problems()


# -- files that are no programs of this machine


def changed(at: int, *new: int) -> bytes:
    data = make_elf(PUBLIC)
    return data[:at] + bytes(new) + data[at + len(new) :]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "is empty"),
        (b"#!/bin/sh -e\necho\n", "is a script, run by /bin/sh"),
        (b"#!", "is a script, run by nothing"),
        (b"hello", "is not an ELF file"),
        (make_elf(PUBLIC)[:40], "is cut off at byte 40"),
        (make_elf(PUBLIC)[:-10], "is cut off at byte"),
        (changed(4, 1), "is a 32-bit program"),
        (changed(5, 2), "is for a big-endian machine"),
        (changed(64 + 35, 1), "cut off at byte [0-9]+: a segment reaches to byte 16777"),
        (make_elf(PUBLIC, machine=40), r"another architecture \(ELF machine 40\), not for x86_64"),
        (make_elf(PUBLIC, machine=183), r"another architecture \(aarch64\), not for x86_64"),
        (make_elf(PUBLIC, kind=1), "is an object file"),
        (make_elf(PUBLIC, kind=4), "is a core dump"),
        (make_elf(PUBLIC, kind=9), r"\(ELF type 9\)"),
    ],
)
def test_what_is_no_program(write: Write, data: bytes, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "n", "r", "v", "x86_64")))
    path = write(data)
    with pytest.raises(DataError, match=sentence) as caught:
        Binary(path)
    assert str(path) in str(caught.value)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "circle").symlink_to("circle")
    for name in ("fifo", ".", "fifo/.."):
        with pytest.raises((DataError, NoMatchError), match=r"not a regular file|there is no file"):
            Binary(f"{tmp_path}/{name}")
    with pytest.raises(NoMatchError, match="there is no file"):
        Binary(tmp_path / "missing")
    with pytest.raises(KernelError, match="ELOOP"):
        Binary(tmp_path / "circle")
    for name in ("", "a\0b", "/a\0b"):
        with pytest.raises(UsageError, match="invalid name"):
            Binary(name)


def test_no_right_to_read(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "no")

    path = write(make_elf(PUBLIC))
    monkeypatch.setattr(binary_file.os, "open", refuse)
    with pytest.raises(NotPermittedError, match=f"no right to read {path}"):
        Binary(path)


def test_no_descriptor_is_left(write: Write) -> None:
    before = os.listdir("/proc/self/fd")
    Binary(write(make_elf(PUBLIC))).functions()
    with pytest.raises(DataError):
        Binary(write(b"no"))
    with pytest.raises(DataError):
        Binary("/dev/null")
    assert os.listdir("/proc/self/fd") == before


def test_devices_are_not_read() -> None:
    assert stat.S_ISCHR(os.stat("/dev/zero").st_mode)
    with pytest.raises(DataError, match="/dev/zero is not a regular file"):
        Binary("/dev/zero")


# -- claims


def with_table_size(data: bytes, size: int) -> bytes:
    """The file, whose symbol table claims `size` bytes."""
    at = struct.unpack_from("<Q", data, 40)[0]
    made = bytearray(data)
    for n in range(struct.unpack_from("<H", data, 60)[0]):
        if struct.unpack_from("<I", made, at + 64 * n + 4)[0] == 2:
            struct.pack_into("<Q", made, at + 64 * n + 32, size)
    return bytes(made)


@pytest.mark.parametrize("size", [1 << 30, 1 << 40, (1 << 63) + 5])
@pytest.mark.parametrize("is_sparse", [False, True])
def test_claims_of_gigabytes_cost_no_memory(write: Write, size: int, is_sparse: bool) -> None:
    path = write(with_table_size(make_elf(HIDDEN), size))
    if is_sparse:
        os.truncate(path, 1 << 42)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"cut off|symbols: more than") as caught:
            Binary(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value)


def test_overlapping_names_are_bounded() -> None:
    text = b"x" * (1 << 20) + b"\0"
    with pytest.raises(DataError, match="names of its symbols"):
        parse_names(text, range(MAX_NAMES // (1 << 20) * 4))
    assert parse_names(b"\0ab@@V\0@x\0c", [0, 1, 7, 10, 99]) == ["", "ab", "@x", "", ""]


def test_a_symbol_table_without_names(write: Write) -> None:
    data = make_elf(PUBLIC)
    at = struct.unpack_from("<Q", data, 40)[0] + 2 * 64
    path = write(data[: at + 40] + struct.pack("<I", 99) + data[at + 44 :])
    with pytest.raises(DataError, match=r"the names of \.symtab are in section 99 of"):
        Binary(path)


def test_a_piece_that_is_too_large(write: Write) -> None:
    path = write(b"x")
    os.truncate(path, 1 << 40)
    with binary_file.BinaryFile(str(path)) as file:
        assert file[:3] == b"x\0\0"
        with pytest.raises(DataError, match="has a table of"):
            file[:]
        os.truncate(path, 2)
        with pytest.raises(DataError, match="changed while it was read"):
            file[:3]


def test_an_ifunc_and_its_resolver(write: Write) -> None:
    binary = Binary(write(make_elf([Made("strlen", 0, 16 | IFUNC), Made("resolve", 0)])))
    assert [verdict.code for verdict in binary.functions("strlen").verdicts()] == ["ifunc"]
    assert [verdict.code for verdict in binary.functions("resolve").verdicts()] == [""]


def test_nothing_to_unpack() -> None:
    data = make_elf(PUBLIC)
    assert unpack_debugdata(data, parse_sections(data)) == b""

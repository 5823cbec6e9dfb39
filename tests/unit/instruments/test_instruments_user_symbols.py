"""Functions of processes: our own, whose addresses the dynamic linker tells."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

from multiprobe.binaries.inlined import CodePlace
from multiprobe.errors import DataError
from multiprobe.instruments.stacks import user_symbols
from multiprobe.instruments.stacks.user_symbols import ElfFunctions, Mapping, UserFrame, UserResolver, parse_maps

MAPS = """\
55d0c0000000-55d0c0001000 r--p 00000000 fe:00 1234                       /usr/bin/a b (deleted)
55d0c0001000-55d0c0002000 r-xp 00001000 fe:00 1234                       /usr/bin/a b (deleted)
7f0000000000-7f0000001000 rwxp 00000000 00:00 0
7ffc00000000-7ffc00002000 r-xp 00000000 00:00 0                          [vdso]
"""


def address_of(name: str) -> int:
    address = ctypes.cast(getattr(ctypes.CDLL(None), name), ctypes.c_void_p).value
    assert address
    return address


def test_maps() -> None:
    assert parse_maps(MAPS) == [
        Mapping(0x55D0C0001000, 0x55D0C0002000, 0x1000, "/usr/bin/a b"),
        Mapping(0x7F0000000000, 0x7F0000001000, 0, ""),
        Mapping(0x7FFC00000000, 0x7FFC00002000, 0, "[vdso]"),
    ]


def label(resolver: UserResolver, pid: int, address: int) -> str:
    """How the frame at an address is named."""
    (frame,) = resolver.frames(pid, address, address)
    return frame.label


def caller(resolver: UserResolver, pid: int, address: int) -> str:
    """The same for a frame that is to be returned to."""
    (frame,) = resolver.frames(pid, address, address - 1)
    return frame.label


@pytest.mark.parametrize("name", ["qsort", "getaddrinfo", "printf"])
@pytest.mark.parametrize("offset", [0, 1])
def test_functions_of_our_own_libraries(name: str, offset: int) -> None:
    resolver = UserResolver()
    resolver.look(os.getpid())
    found = label(resolver, os.getpid(), address_of(name) + offset)
    assert found.split(" (")[0].lstrip("_").removeprefix("IO_") == name
    assert found.split(" (")[1].startswith("libc")


def test_what_has_no_name() -> None:
    resolver = UserResolver()
    assert label(resolver, os.getpid(), 0x1234) == "0x1234"
    resolver.look(os.getpid())
    assert label(resolver, os.getpid(), 0x1234) == "0x1234"
    resolver.look(1 << 30)


def test_a_mapping_that_was_found_out_otherwise() -> None:
    resolver = UserResolver()
    resolver.add(7, Mapping(0x5000, 0x7000, 0x1000, "/no such file"))
    resolver.add(7, Mapping(0x6000, 0x8000, 0x1000, "/another"))
    assert label(resolver, 7, 0x5010) == "no such file+0x1010"
    assert caller(resolver, 7, 0x7000) == "no such file+0x3000"
    assert label(resolver, 7, 0x7000) == "0x7000"
    assert caller(resolver, 7, 0x5000) == "0x5000"


def test_what_is_gone_is_still_known(tmp_path: os.PathLike[str]) -> None:
    folder = os.path.join(tmp_path, "7")
    os.mkdir(folder)
    resolver = UserResolver(root=str(tmp_path))
    for text in (MAPS, "7f0000000000-7f0000002000 r-xp 00000000 00:00 0 [new]\n"):
        with open(os.path.join(folder, "maps"), "w") as file:
            file.write(text)
        resolver.look(7)
    assert label(resolver, 7, 0x55D0C0001010) == "a b+0x1010"
    assert label(resolver, 7, 0x7F0000000010) == "[new]"
    assert label(resolver, 7, 0x7FFC00000001) == "[vdso]"


@pytest.mark.parametrize(
    "data", [b"", b"#!/bin/sh\n", b"\x7fELF\x02\x01" + b"\xff" * 100, b"\x7fELF\x02\x01" + bytes(58)]
)
def test_what_is_no_elf_has_no_functions(data: bytes) -> None:
    assert ElfFunctions(data).name(0) == ""


class Answers:
    """What is said of inlined functions: of the offset 0x1010, or an error."""

    def __init__(self, error: str = "") -> None:
        self.asked: list[set[int]] = []
        self._error = error

    def __call__(self, file: object, offsets: set[int], problems: list[str]) -> dict[int, tuple[CodePlace, ...]]:
        self.asked.append(offsets)
        if self._error:
            raise DataError(self._error)
        inlined = CodePlace("_ZN5shape4areaEi", "/src/a.cc", 7), CodePlace("", "/src/b.h", 0)
        return {0x1010: (*inlined, CodePlace("own", "/src/c.cc", 9)), 0x1020: (CodePlace("own", "", 0),)}


@pytest.fixture
def resolver(tmp_path: Path) -> UserResolver:
    (tmp_path / "program").write_bytes(b"x")
    found = UserResolver()
    found.add(7, Mapping(0x5000, 0x7000, 0x1000, f"{tmp_path}/program"))
    return found


def test_inlined_functions(resolver: UserResolver, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers()
    monkeypatch.setattr(user_symbols, "read_places_at", answers)
    assert resolver.frames(7, 0x5011, 0x5010) == (UserFrame("program+0x1011", ""),)
    resolver.find_inlined([(7, 0x5010), (7, 0x5020), (7, 0x9000), (8, 0x5010)])
    resolver.find_inlined([(7, 0x5010)])
    assert answers.asked == [{0x1010, 0x1020}]
    own, outer, inner = resolver.frames(7, 0x5011, 0x5010)
    assert own == UserFrame("program+0x1011", "/src/c.cc:9")
    assert outer == UserFrame("? (program) [inlined]", "")
    assert inner.label in ("shape::area (program) [inlined]", "_ZN5shape4areaEi (program) [inlined]")
    assert inner.place == "/src/a.cc:7"
    assert resolver.frames(7, 0x5020, 0x5020) == (UserFrame("program+0x1020", ""),)
    assert resolver.problems == []


def test_a_file_that_cannot_be_read_is_asked_once(resolver: UserResolver, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers("program: its DWARF is damaged")
    monkeypatch.setattr(user_symbols, "read_places_at", answers)
    resolver.find_inlined([(7, 0x5010)])
    resolver.find_inlined([(7, 0x5020)])
    assert len(answers.asked) == 1
    assert resolver.problems == ["no inlined functions are shown: program: its DWARF is damaged"]
    assert resolver.frames(7, 0x5011, 0x5010) == (UserFrame("program+0x1011", ""),)

"""Functions of processes: our own, whose addresses the dynamic linker tells."""

from __future__ import annotations

import ctypes
import os

import pytest

from multiprobe.instruments.stacks.user_symbols import ElfFunctions, Mapping, UserResolver, parse_maps

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


@pytest.mark.parametrize("name", ["qsort", "getaddrinfo", "printf"])
@pytest.mark.parametrize("offset", [0, 1])
def test_functions_of_our_own_libraries(name: str, offset: int) -> None:
    resolver = UserResolver()
    resolver.look(os.getpid())
    label = resolver.label(os.getpid(), address_of(name) + offset)
    assert label.split(" (")[0].lstrip("_").removeprefix("IO_") == name
    assert label.split(" (")[1].startswith("libc")


def test_what_has_no_name() -> None:
    resolver = UserResolver()
    assert resolver.label(os.getpid(), 0x1234) == "0x1234"
    resolver.look(os.getpid())
    assert resolver.label(os.getpid(), 0x1234) == "0x1234"
    resolver.look(1 << 30)


def test_a_mapping_that_was_found_out_otherwise() -> None:
    resolver = UserResolver()
    resolver.add(7, Mapping(0x5000, 0x7000, 0x1000, "/no such file"))
    resolver.add(7, Mapping(0x6000, 0x8000, 0x1000, "/another"))
    assert resolver.label(7, 0x5010) == "no such file+0x1010"
    assert resolver.caller(7, 0x7000) == "no such file+0x3000"
    assert resolver.label(7, 0x7000) == "0x7000"
    assert resolver.caller(7, 0x5000) == "0x5000"


def test_what_is_gone_is_still_known(tmp_path: os.PathLike[str]) -> None:
    folder = os.path.join(tmp_path, "7")
    os.mkdir(folder)
    resolver = UserResolver(root=str(tmp_path))
    for text in (MAPS, "7f0000000000-7f0000002000 r-xp 00000000 00:00 0 [new]\n"):
        with open(os.path.join(folder, "maps"), "w") as file:
            file.write(text)
        resolver.look(7)
    assert resolver.label(7, 0x55D0C0001010) == "a b+0x1010"
    assert resolver.label(7, 0x7F0000000010) == "[new]"
    assert resolver.label(7, 0x7FFC00000001) == "[vdso]"


@pytest.mark.parametrize(
    "data", [b"", b"#!/bin/sh\n", b"\x7fELF\x02\x01" + b"\xff" * 100, b"\x7fELF\x02\x01" + bytes(58)]
)
def test_what_is_no_elf_has_no_functions(data: bytes) -> None:
    assert ElfFunctions(data).name(0) == ""

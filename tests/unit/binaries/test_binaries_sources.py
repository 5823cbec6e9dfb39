"""Source lines of functions by DWARF: of compiled programs; of files that are damaged."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import multiprobe as mp
from multiprobe.binaries import dwarf_lines
from multiprobe.binaries.dwarf import limited
from multiprobe.binaries.dwarf_lines import SourceLine, read_lines, rows
from multiprobe.binaries.file import BinaryFile
from multiprobe.binaries.sources import find_shift, find_sources
from multiprobe.errors import DataError, MultiprobeError, NotSupportedError

NAMES = ("first", "second", "helper", "main")
HEADER = "__attribute__((noinline)) static int helper(int x) {\n    return x ^ 5;\n}\n"
PROGRAM = """\
#include "deep/helper.h"

__attribute__((noinline)) int first(int x) {
    return x + 1;
}

__attribute__((noinline)) static int second(int x) {
    return helper(x) * 2;
}

int main(int argc, char **argv) {
    return second(first(argc)) == 99;
}
"""
LINES = {
    "first": ("program.c", 3),
    "second": ("program.c", 7),
    "helper": ("deep/helper.h", 1),
    "main": ("program.c", 11),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pytest.importorskip("elftools")
    if shutil.which("gcc") is None:
        pytest.skip("no compiler here: the test needs gcc")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/helper.h").write_text(HEADER)
    (tmp_path / "program.c").write_text(PROGRAM)
    return tmp_path


def compiled(folder: Path, *flags: str) -> Path:
    subprocess.run(["gcc", "-O2", *flags, "-o", "program", "program.c"], check=True, cwd=folder)
    return folder / "program"


def lines_of(path: Path) -> dict[str, SourceLine | None]:
    functions = mp.Binary(path).functions(*NAMES)
    sources = find_sources(functions)
    return {function.name: sources.of(function) for function in functions}


@pytest.mark.parametrize("flags", [("-gdwarf-3",), ("-gdwarf-4",), ("-gdwarf-5",), ("-g", "-gz=zlib"), ("-g", "-flto")])
def test_lines_of_a_program(folder: Path, flags: tuple[str, ...]) -> None:
    path = compiled(folder, *flags)
    assert lines_of(path) == {name: SourceLine(str(folder / file), line) for name, (file, line) in LINES.items()}


def test_without_the_list_of_address_ranges(folder: Path) -> None:
    path = compiled(folder, "-g")
    subprocess.run(["objcopy", "--remove-section=.debug_aranges", str(path)], check=True)
    assert None not in lines_of(path).values()


def test_lines_in_a_separate_debug_file(folder: Path, debug_root: Path) -> None:
    path = compiled(folder, "-g", "-Wl,--build-id=0x1234abcd")
    debug = debug_root / ".build-id/12/34abcd.debug"
    debug.parent.mkdir(parents=True)
    subprocess.run(["objcopy", "--only-keep-debug", str(path), str(debug)], check=True)
    subprocess.run(["strip", "--strip-debug", str(path)], check=True)
    assert None not in lines_of(path).values()


def test_no_dwarf(folder: Path, debug_root: Path) -> None:
    with pytest.raises(NotSupportedError, match=r"program has no source lines \(DWARF\)") as found:
        lines_of(compiled(folder, "-g0"))
    assert "compile it with -g" in found.value.hint


def test_a_function_without_a_line_is_told(folder: Path) -> None:
    sources = find_sources(mp.Binary(compiled(folder, "-g")).functions("main", "_start"))
    (problem,) = sources.problems
    assert problem.startswith("1 function of ")


def test_without_pyelftools(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = compiled(folder, "-g")
    monkeypatch.setattr(limited, "find_spec", lambda _: None)
    with pytest.raises(NotSupportedError) as found:
        lines_of(path)
    assert found.value.hint == "pip install 'multiprobe[dwarf]'"


def test_limits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = compiled(folder, "-g")
    monkeypatch.setattr(dwarf_lines, "MAX_MEMORY", 1 << 24)
    with pytest.raises(DataError, match=f"{path}: its DWARF can't be read"):
        lines_of(path)


def test_damaged_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each ends with lines or with an error that names the file, within the limits."""
    good = compiled(folder, "-g").read_bytes()
    monkeypatch.setattr(dwarf_lines, "MAX_SECONDS", 5)
    chosen = random.Random(1)
    errors = []
    for n in range(12):
        data = bytearray(good)
        for _ in range(40):
            data[chosen.randrange(len(data) // 4, len(data) - 2500)] = chosen.randrange(256)
        path = folder / f"damaged{n}"
        path.write_bytes(data)
        try:
            with BinaryFile(str(path)) as file:
                read_lines(file, [0x1040, 0x1140])
        except MultiprobeError as error:
            errors.append(str(error))
    assert errors
    assert all("damaged" in error or "ELF" in error for error in errors)


# Pure parts

TABLE: Any = SimpleNamespace(
    opcode_base=13,
    line_base=-5,
    line_range=14,
    minimum_instruction_length=1,
    standard_opcode_lengths=[0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1],
)


def test_rows_of_a_line_program() -> None:
    code = bytes([
        0, 9, 2, *(0x1000).to_bytes(8, "little"),  # set the address
        5, 7,  # set the column: skipped
        3, 0x7E + 2 & 0x7F, 1,  # line 1, a copy of it
        13 + 5 + 2 + 14 * 3,  # 3 bytes and 2 lines further
        8, 2, 0x80, 1, 3, 10, 4, 2, 1,  # 17 + 128 bytes, 10 lines further, in file 2
        9, 0, 1, 3, 0x7D, 1,  # 256 bytes further, 3 lines back
        0, 1, 1, 1,  # the end of the sequence, and a row of the next
    ])  # fmt: skip
    assert list(rows(code, TABLE)) == [
        (0x1000, 1, 1), (0x1003, 1, 3), (0x1094, 2, 13), (0x1194, 2, 10), (0, 1, 1),
    ]  # fmt: skip


@pytest.mark.parametrize("code", [b"\0", b"\0\x05", b"\x02\x80", b"\x02" + b"\x80" * 11 + b"\1"])
def test_a_line_program_that_is_cut_off(code: bytes) -> None:
    with pytest.raises(IndexError):
        list(rows(code, TABLE))


def test_the_shift_is_what_most_names_say() -> None:
    running = {"a": 0x2100, "b": 0x2200, "twice": 0x2300, "new": 0x9}
    assert find_shift(running, {"a": 0x1100, "b": 0x1200, "twice": 0x1400, "old": 0x5}) == 0x1000
    with pytest.raises(DataError, match="none of the functions"):
        find_shift({"a": 1}, {"b": 1})

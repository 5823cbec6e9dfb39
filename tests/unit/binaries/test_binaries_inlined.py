"""Inlined functions by DWARF: of programs that compilers made, compared with addr2line; made by hand; damaged."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from os.path import normpath
from pathlib import Path

import pytest
from dwarf_writer import die, function, inlined, make_lines, make_program, unit
from elf_writer import BASE

import multiprobe as mp
from multiprobe.binaries import inlined as module
from multiprobe.binaries.dwarf import inlines, limited
from multiprobe.binaries.dwarf.child import open_dwarf
from multiprobe.binaries.file import BinaryFile
from multiprobe.binaries.inlined import CodePlace, read_places, read_places_at
from multiprobe.errors import DataError

pytest.importorskip("elftools", reason="the extra `dwarf` is not installed")
TOOLS = ("gcc", "g++", "addr2line", "objdump", "objcopy", "nm")
with_tools = pytest.mark.skipif(
    not all(map(shutil.which, TOOLS)), reason="no compiler here: the test needs gcc, g++ and binutils"
)

IN_C = """\
#include <stdio.h>
#include "deep/inner.h"
__attribute__((noipa)) int out(int x) { return x + 1; }
static inline __attribute__((always_inline)) int middle(int x) {
    int sum = 0;
    for (int i = 0; i < x; i++) {
        sum += inner(i);
        if (sum > 100) { int twice = inner(sum); sum += twice; }
    }
    return sum;
}
static inline __attribute__((always_inline)) int outer(int x) { return middle(x) +
    middle(x + 1); }
__attribute__((noinline)) int top(int x) { return outer(x) + out(3); }
int main(int argc, char **argv) { printf("%d\\n", top(argc) + outer(argc)); return 0; }
"""
IN_A_HEADER = """\
int out(int x);
static inline __attribute__((always_inline)) int inner(int x) {
    return out(x) * 2;
}
"""
IN_CPLUSPLUS = """\
#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
#include <vector>
namespace geometry {
__attribute__((noipa)) int out(int x) { return x + 1; }
struct Square { int side; int area() const { return out(side) * side; } };
template <class T> static inline int total(const std::vector<T> &all) {
    int sum = 0;
    for (const auto &one : all) sum += one.area();
    return sum;
}
namespace { inline int twice(int n) { auto add = [n](int m) { return out(n) + out(m); }; return add(n) + add(n + 1); } }
}
__attribute__((noinline)) int work(int n) {
    std::vector<geometry::Square> all;
    for (int i = 0; i < n; i++) all.push_back({i});
    std::sort(all.begin(), all.end(), [](auto &a, auto &b) { return a.side > b.side; });
    std::map<std::string, int> names;
    try { names[std::to_string(n)] = geometry::total(all); } catch (...) { geometry::out(0); }
    return names.begin()->second + geometry::twice(n);
}
int main(int argc, char **) { std::printf("%d\\n", work(argc + 3)); return 0; }
"""

Places = list[tuple[str, str, int]]


def compiled(folder: Path, compiler: str, *flags: str) -> Path:
    source = folder / ("program.c" if compiler == "gcc" else "program.cpp")
    source.write_text(IN_C if compiler == "gcc" else IN_CPLUSPLUS)
    (folder / "deep").mkdir(exist_ok=True)
    (folder / "deep/inner.h").write_text(IN_A_HEADER)
    made = folder / f"program-{compiler}{''.join(flags)}"
    subprocess.run([compiler, "-O2", *flags, "-o", made, source.name], check=True, cwd=folder)
    return made


def code_addresses(program: Path) -> list[int]:
    """Every instruction, and the last byte of every call: what a return address less one is."""
    text = subprocess.run(["objdump", "-d", program], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^ *([0-9a-f]+):\t((?:[0-9a-f]{2} )+) *\t?(\w*)", text, re.MULTILINE)
    calls = [int(at, 16) + len(code.split()) - 1 for at, code, mnemonic in found if mnemonic.startswith("call")]
    assert calls
    return sorted({*calls, *(int(at, 16) for at, _, _ in found)})


def asked_of_addr2line(program: Path, addresses: list[int]) -> dict[int, Places]:
    command = ["addr2line", "-a", "-i", "-f", "-e", program]
    text = subprocess.run(command, input="\n".join(map(hex, addresses)), capture_output=True, text=True, check=True)
    found: dict[int, Places] = {}
    here: list[str] = []
    for line in [*text.stdout.splitlines(), "0x0"]:
        if not line.startswith("0x"):
            here.append(line)
            continue
        if here:
            found[int(here[0], 16)] = [
                (name, *_place(place)) for name, place in zip(here[1::2], here[2::2], strict=True)
            ]
        here = [line]
    return found


def _place(text: str) -> tuple[str, int]:
    path, _, line = re.sub(r" \(discriminator \d+\)$", "", text).rpartition(":")
    return (normpath(path), int(line)) if line.isdecimal() and int(line) else ("", 0)


def read(program: Path, addresses: list[int]) -> dict[int, Places]:
    problems: list[str] = []
    with BinaryFile(str(program)) as file:
        found = read_places(file, addresses, problems)
    assert problems == []
    return {address: [(one.name, one.path, one.line) for one in places] for address, places in found.items()}


def symbols_of(program: Path) -> set[str]:
    text = subprocess.run(["nm", program], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1] for line in text.splitlines()}


def without_paths(places: Places) -> Places:
    return [(name, "", line) for name, _, line in places]


@with_tools
@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("compiler", ["gcc", "g++"])
def test_every_instruction_of_a_program(tmp_path: Path, compiler: str, version: int) -> None:
    program = compiled(tmp_path, compiler, "-g", f"-gdwarf-{version}")
    addresses = code_addresses(program)
    found, expected = read(program, addresses), asked_of_addr2line(program, addresses)
    symbols = symbols_of(program)
    assert max(map(len, found.values())) > 3
    for address, places in found.items():
        wanted = expected[address]
        if compiler == "g++":  # where DWARF has no name for the linker, addr2line takes the symbol's, of the outermost
            for n in {0, len(wanted) - 1} if len(wanted) == len(places) else ():
                wanted[n] = (places[n][0] if wanted[n][0] in symbols else wanted[n][0], *wanted[n][1:])
        if version == 5:  # whose first file addr2line of binutils 2.40 takes for another one
            places, wanted = without_paths(places), without_paths(wanted)
        assert places == wanted, hex(address)
    outside = [places for address, places in expected.items() if address not in found]
    assert all(len(places) == 1 for places in outside)  # start-up code, and padding


@with_tools
@pytest.mark.parametrize("compiler", ["gcc", "g++"])
def test_versions_of_dwarf_say_the_same(tmp_path: Path, compiler: str) -> None:
    old, new = (compiled(tmp_path, compiler, "-g", f"-gdwarf-{version}") for version in (4, 5))
    addresses = code_addresses(old)
    assert addresses == code_addresses(new)
    assert read(old, addresses) == read(new, addresses)


@with_tools
def test_of_a_separate_file_and_of_none(tmp_path: Path) -> None:
    program = compiled(tmp_path, "gcc", "-g")
    addresses = code_addresses(program)
    found = read(program, addresses)
    subprocess.run(["objcopy", "--only-keep-debug", program, f"{program}.debug"], check=True)
    subprocess.run(["objcopy", "--strip-debug", program], check=True)
    assert read(program, addresses) == {}
    subprocess.run(["objcopy", f"--add-gnu-debuglink={program}.debug", program], check=True)
    assert read(program, addresses) == found


# Made by hand


def made(tmp_path: Path, *functions: object, rows: tuple[tuple[int, int, int], ...] = ()) -> Path:
    top = unit(*functions)  # type: ignore[arg-type]
    top.attributes |= {"stmt_list": 0, "comp_dir": "/src"} if rows else {}
    path = tmp_path / "made"
    path.write_bytes(make_program(top, extra={".debug_line": make_lines(*rows)} if rows else {}))
    return path


INNER = die("subprogram", name="inner", linkage_name="_Z5inneri")
OUTER = die("subprogram", name="outer")
ROWS = ((0, 1, 1), (2, 1, 5), (4, 2, 7), (8, 2, 0), (16, 1, 40))


def test_instances_in_blocks(tmp_path: Path) -> None:
    """A block without ranges is looked into; one with others is not."""
    deep = inlined(4, 4, INNER, line=20)
    elsewhere = die("lexical_block", inlined(4, 4, OUTER, line=99), low_pc=BASE + 12, high_pc=2)
    block = die("lexical_block", elsewhere, inlined(2, 12, OUTER, deep, line=10))
    path = made(tmp_path, INNER, OUTER, function(0, block), rows=ROWS)
    found = read(path, [BASE + n for n in (0, 3, 4, 7, 8, 14, 15, 16, 40)])
    assert found == {
        BASE: [("f0", "/src/x.c", 1)],
        BASE + 3: [("outer", "/src/x.c", 5), ("f0", "/src/include/y.h", 10)],
        BASE + 4: [
            ("_Z5inneri", "/src/include/y.h", 7),
            ("outer", "/src/include/y.h", 20),
            ("f0", "/src/include/y.h", 10),
        ],
        BASE + 7: [
            ("_Z5inneri", "/src/include/y.h", 7),
            ("outer", "/src/include/y.h", 20),
            ("f0", "/src/include/y.h", 10),
        ],
        BASE + 8: [("outer", "", 0), ("f0", "/src/include/y.h", 10)],
        BASE + 14: [("f0", "", 0)],
        BASE + 15: [("f0", "", 0)],
    }
    (offset,) = mp.Binary(path).functions("f0").file_offsets()
    with BinaryFile(str(path)) as file:
        assert list(read_places_at(file, [offset, 0, 1 << 40], [])) == [offset]


def test_without_lines(tmp_path: Path) -> None:
    path = made(tmp_path, OUTER, function(0, inlined(2, 12, OUTER, line=10)))
    assert read(path, [BASE + 3]) == {BASE + 3: [("outer", "", 0), ("f0", "", 10)]}


def test_no_more_instances_than_allowed(tmp_path: Path) -> None:
    instance = inlined(0, 16, OUTER, line=1)
    for _ in range(2 * inlines.MAX_INLINED):
        instance = inlined(0, 16, OUTER, instance, line=1)
    block = die("lexical_block", inlined(16, 16, OUTER, line=1))
    for _ in range(2 * inlines.MAX_DEPTH):
        block = die("lexical_block", block)
    path = made(tmp_path, OUTER, function(0, instance), function(1, block))
    found = read(path, [BASE, BASE + 16])
    assert len(found[BASE]) == inlines.MAX_INLINED + 1
    assert found[BASE + 16] == [("f1", "", 0)]


def test_what_takes_too_long_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path, OUTER, function(0, inlined(2, 12, OUTER, line=10)), function(1), rows=ROWS)
    with path.open("rb") as stream:
        assert inlines.read(open_dwarf(stream), [BASE], seconds=-1) == ({}, False)  # type: ignore[arg-type]
    monkeypatch.setattr(module, "MAX_ADDRESSES", 1)
    problems: list[str] = []
    with BinaryFile(str(path)) as file:
        assert list(read_places(file, [BASE + 16, BASE + 3], problems)) == [BASE + 3]
    assert problems == [f"{path}: inlined functions at 1 of 2 addresses were read"]
    monkeypatch.setattr(module, "MAX_SECONDS", 0)
    with BinaryFile(str(path)) as file, pytest.raises(DataError):
        read_places(file, [BASE], [])


def test_without_pyelftools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path, function(0))
    monkeypatch.setattr(limited, "has_pyelftools", lambda: False)
    problems: list[str] = []
    with BinaryFile(str(path)) as file:
        assert read_places(file, [BASE], problems) == {}
        assert read_places(file, [], problems) == {}
    assert problems == [f"{path} tells inlined functions (DWARF), which need pyelftools: {limited.HINT}"]


def test_what_is_no_elf_file_has_no_dwarf(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    with BinaryFile(str(tmp_path / "text")) as file:
        assert read_places_at(file, [0], []) == {}


def test_answers_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path, function(0))
    for answer in (b"", b"[]", b'{"places": [[1]], "is_whole": 1}', b'{"places": [[1, [["a"]]]]}', b'{"places": []}'):
        monkeypatch.setattr(limited, "ask", lambda *_, answer=answer, **__: answer)
        with BinaryFile(str(path)) as file, pytest.raises(DataError, match="its DWARF can't be read"):
            read_places(file, [BASE], [])


def test_damaged_dwarf(tmp_path: Path) -> None:
    whole = bytearray(made(tmp_path, OUTER, function(0, inlined(2, 12, OUTER, line=10)), rows=ROWS).read_bytes())
    chance = random.Random(1)
    for _ in range(20):
        data = bytearray(whole)
        for _ in range(8):
            data[chance.randrange(64, len(data))] = chance.randrange(256)
        path = tmp_path / "damaged"
        path.write_bytes(data)
        try:
            with BinaryFile(str(path)) as file:
                found = read_places(file, range(BASE, BASE + 32), [])
        except DataError:
            continue
        assert all(isinstance(place, CodePlace) for places in found.values() for place in places)

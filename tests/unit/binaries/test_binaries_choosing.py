"""Functions of a binary: patterns, aliases, reasons, and the algebra of sets."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from elf_writer import BASE, Made, make_elf
from hypothesis import given
from hypothesis import strategies as st

import multiprobe as mp
from multiprobe.binaries.binary import Binary
from multiprobe.binaries.choosing import MOST_ADVICE, choose, parse_user_pattern
from multiprobe.binaries.symbols import read_symbols
from multiprobe.binaries.table import UserTable, build_table
from multiprobe.elf import parse_sections, parse_segments
from multiprobe.errors import DataError, MultiprobeError, PatternError, UsageError


def names(chosen: mp.UserFunctionSet) -> list[str]:
    return list(map(str, chosen))


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["work"], ["work"]),
        (["work_alias", "work"], ["work_alias"]),  # one function
        (["work_more", "work"], ["work_more", "work"]),  # the order of the request
        (["work*"], ["work", "work_more"]),
        (["__*"], ["__work"]),
        (["w?rk"], ["work"]),
        (["/(work|helper)/"], ["work", "helper", "helper"]),
        (["work*", "!*_more"], ["work"]),
        (["!__work", "work*"], ["work_more"]),  # under whatever name
        (["helper"], ["helper", "helper"]),
        (["versioned"], ["versioned"]),
        ([], ["work", "work_more", "helper", "helper", "memcpy", "stub", "versioned", "elsewhere"]),
        (["*", "!/.*/"], []),
        (["table"], []),  # no function
    ],
)
def test_patterns(binary: Binary, patterns: list[str], expected: list[str]) -> None:
    assert names(binary.functions(*patterns)) == expected


def test_a_function_says_where_it_is(binary: Binary) -> None:
    (found,) = binary.functions("work_more")
    assert (found.address, found.file_offset, found.size, found.source) == (BASE + 16, 120 + 16, 16, ".symtab")
    assert found.binary == binary.path
    (work,) = binary.functions("work_alias")
    assert work.aliases == ("work", "__work")


@pytest.mark.parametrize(
    ("name", "code", "sentence"),
    [
        ("memcpy", "ifunc", "memcpy is an indirect function"),
        ("stub", "plt", "stub is a stub of the procedure linkage table"),
        ("free", "plt", "free is a stub of the procedure linkage table"),
        ("elsewhere", "no_code", "elsewhere is outside of the executable segments"),
    ],
)
def test_what_is_refused_has_a_reason(binary: Binary, name: str, code: str, sentence: str) -> None:
    chosen = binary.functions(name)
    (verdict,) = chosen.verdicts()
    assert (verdict.code, verdict.is_attachable) == (code, False)
    assert verdict.reason.startswith(sentence)
    assert chosen.refusals() == [mp.Refusal(name, code, verdict.reason)]
    assert not chosen.attachable()
    assert names(chosen.refused()) == [name]


@pytest.mark.parametrize(
    ("request_", "code", "part"),
    [
        ("malloc", "imported", "takes it from a library"),
        ("work_mroe", "unknown_name", "there is work_more"),
        ("nosuch", "unknown_name", "is called nosuch"),
        ("work+0x10", "wrong_offset", "16 bytes long"),
        ("nosuch+1", "unknown_name", "is called nosuch"),
    ],
)
def test_requests_that_name_nothing(binary: Binary, request_: str, code: str, part: str) -> None:
    chosen = binary.functions(request_)
    assert not len(chosen)
    (refusal,) = chosen.unresolved
    assert (refusal.request, refusal.code) == (request_, code)
    assert part in refusal.reason


def test_a_binary_without_symbols_says_so(write: Callable[..., Path]) -> None:
    for data in (make_elf(), make_elf(has_sections=False), make_elf([], [])):
        path = write(data)
        for patterns in ([], ["*"], ["main"]):
            (refusal,) = Binary(path).functions(*patterns).unresolved
            assert refusal.code == "no_symbols"
            assert f"{path} has no symbols" in refusal.reason


@pytest.mark.parametrize("offset", range(1, 6))
def test_a_probe_inside_of_a_function_is_where_an_instruction_begins(binary: Binary, offset: int) -> None:
    pytest.importorskip("capstone")
    chosen = binary.functions(f"work+{offset}")
    if offset in (1, 4, 5):  # push is 1 byte long, mov 3, pop 1
        assert [(str(one), one.offset) for one in chosen] == [(f"work+{offset:#x}", offset)]
    else:
        assert [refusal.code for refusal in chosen.unresolved] == ["inside_instruction"]


def test_without_a_disassembler_no_offset_is_guessed(binary: Binary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "capstone", None)
    (refusal,) = binary.functions("work+1").unresolved
    assert refusal.code == "not_disassembled"


def test_a_file_that_changed_is_not_disassembled(binary: Binary) -> None:
    os.utime(binary.path, (0, 0))
    with pytest.raises(DataError, match="has changed since"):
        binary.functions("work+1")


def test_many_names(binary: Binary) -> None:
    unknown = [f"wrok{n}" for n in range(MOST_ADVICE)]
    chosen = binary.functions(*unknown, "work", "work_mroe", "malloc")
    assert names(chosen) == ["work"]
    assert [refusal.request for refusal in chosen.unresolved] == [*unknown, "work_mroe", "malloc"]
    assert chosen.unresolved[-1].code == "imported"
    assert "there is" not in chosen.unresolved[-2].reason


def test_algebra(binary: Binary) -> None:
    work, helper, every = binary.functions("work*"), binary.functions("helper"), binary.functions()
    assert names(helper | work) == ["helper", "helper", "work", "work_more"]
    assert names(work | binary.functions("__work")) == names(work)
    assert names(every & binary.functions("__work")) == ["work"]
    assert names(every - work - helper) == ["memcpy", "stub", "versioned", "elsewhere"]
    unresolved = (binary.functions("nosuch") | binary.functions("nosuch", "malloc")).unresolved
    assert [refusal.request for refusal in unresolved] == ["nosuch", "malloc"]
    assert names(work | Binary(binary.path).functions("memcpy")) == ["work", "work_more", "memcpy"]


def test_sets_of_two_files_are_not_mixed(binary: Binary, write: Callable[..., Path]) -> None:
    other = Binary(write(make_elf([Made("work")]), "other"))
    with pytest.raises(UsageError, match="two different files"):
        binary.functions() | other.functions()


def test_what_is_in_a_set(binary: Binary) -> None:
    chosen = binary.functions("work")
    assert "work" in chosen
    assert "__work" in chosen
    assert "helper" not in chosen
    assert 7 not in chosen
    assert chosen[0] in chosen
    assert binary.functions("helper")[0] in binary.functions()
    assert binary.functions("helper")[0] not in chosen
    assert repr(binary.functions()) == f"<UserFunctionSet of 8 functions of {binary.path}, 5 of them attachable>"
    assert "procedure linkage" in binary.functions()._repr_html_()


@pytest.mark.parametrize("text", ["", "!", " ", "/(/", "[", "x[z-a]", "x+0x100000000", 3])
def test_invalid_patterns(text: str) -> None:
    if text == "[":
        assert parse_user_pattern(text).expression is not None  # a glob's lone bracket is itself
        return
    with pytest.raises(PatternError):
        parse_user_pattern(text)


def test_names_of_other_languages() -> None:
    assert parse_user_pattern("main.(*T).Foo").name == "main.(*T).Foo"
    assert parse_user_pattern("_ZN3foo3barEv").expression is None
    assert parse_user_pattern("operator+").name == "operator+"


def table_of(symbols: list[Made]) -> UserTable:
    data = make_elf(symbols)
    sections = parse_sections(data)
    return build_table(read_symbols(data, sections), parse_segments(data), sections)


SYMBOL = st.builds(Made, st.text("ab_", min_size=1, max_size=3), st.integers(0, 5))
PATTERN = st.text("ab_*?!", min_size=1, max_size=3)


@given(st.lists(SYMBOL, max_size=12), st.lists(PATTERN, max_size=3), st.lists(PATTERN, max_size=3))
def test_sets_are_sets(symbols: list[Made], one: list[str], two: list[str]) -> None:
    table = table_of(symbols)

    def chosen(patterns: list[str]) -> mp.UserFunctionSet:
        try:
            return choose(table, patterns, code_of=lambda _row: b"")
        except MultiprobeError:
            return choose(table, [], code_of=lambda _row: b"")

    def addresses(functions: mp.UserFunctionSet) -> list[int]:
        return [function.address for function in functions]

    left, right = chosen(one), chosen(two)
    for functions in (left, right, left | right):
        assert len(set(addresses(functions))) == len(functions)
    assert set(addresses(left | right)) == set(addresses(left)) | set(addresses(right))
    assert set(addresses(left & right)) == set(addresses(left)) & set(addresses(right))
    assert set(addresses(left - right)) == set(addresses(left)) - set(addresses(right))
    assert set(addresses(chosen([]))) == {BASE + 16 * (symbol.place or 0) for symbol in symbols}


C_PROGRAM = """\
#include <stdio.h>
static int inner(int x) { return x * 3; }
int outer(int x) { return inner(x) + 1; }
int other(int x) __attribute__((alias("outer")));
int main(int argc, char **argv) { printf("%d\\n", outer(argc)); return 0; }
"""


@pytest.mark.skipif(not (shutil.which("gcc") and shutil.which("nm")), reason="no compiler")
@pytest.mark.parametrize("flags", [["-no-pie"], ["-pie", "-fPIE"], ["-static"]])
def test_a_compiled_program_has_what_nm_says(tmp_path: Path, flags: list[str]) -> None:
    source, path = tmp_path / "x.c", tmp_path / "x"
    source.write_text(C_PROGRAM)
    made = subprocess.run(["gcc", "-O0", *flags, "-o", str(path), str(source)], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("no such libraries here")
    listed = subprocess.run(["readelf", "-sW", str(path)], capture_output=True, text=True, check=True).stdout
    expected = {
        (int(fields[1], 16), fields[7].partition("@")[0])
        for line in listed.splitlines()
        if len(fields := line.split()) >= 8 and fields[3] in ("FUNC", "IFUNC") and fields[6] != "UND"
    }
    binary = Binary(path)
    table = binary.table
    assert set(zip(table.addresses.tolist(), table.names, strict=True)) == expected
    (outer,) = binary.functions("outer")
    assert outer.aliases == ("other",)
    data = path.read_bytes()
    assert data[outer.file_offset : outer.file_offset + 4] in (b"\x55\x48\x89\xe5", b"\xf3\x0f\x1e\xfa")
    assert not binary.functions("printf").attachable() or "-static" in flags

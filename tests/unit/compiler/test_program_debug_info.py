"""Debug information of programs: BTF that a reader of BTF understands, and records that the kernel's rules allow."""

from __future__ import annotations

from itertools import pairwise
from struct import iter_unpack

import multiprobe as mp
from multiprobe.compiler.backend.debug_info import debug_info
from multiprobe.compiler.compiling import compile_program
from multiprobe.kernel.btf.format import find_function, parse_sections
from multiprobe.uapi import btf

calls = mp.PerFunction(mp.u64)
table = mp.Hash(mp.u64, mp.u64, 10)


@mp.program
def sample(ctx):
    calls[ctx.function] += 1
    for i in range(5):
        table[ctx.arg(0) + i] = ctx.time


def text_at(data: bytes, offset: int) -> str:
    strings = data[24 + int.from_bytes(data[16:20], "little") :]
    return strings[offset : strings.index(b"\0", offset)].decode()


def test_lines_and_columns() -> None:
    code = compile_program(sample, context="kprobe", when="entry", is_cached=False)
    made = debug_info(code, name="sample", file="a.py", first_line=100)
    records = list(iter_unpack("=IIII", made.line_info))
    assert records[0][0] == 0
    assert all(one[0] < other[0] for one, other in pairwise(records)), "ascending, each instruction once"
    assert {text_at(made.btf, one[1]) for one in records} == {"a.py"}
    quoted = {(one[3] >> 10, one[3] & 1023, text_at(made.btf, one[2])) for one in records}
    assert (102, 5, "calls[ctx.function] += 1") in quoted
    assert (104, 9, "table[ctx.arg(0) + i] = ctx.time") in quoted
    assert (104, 33, "table[ctx.arg(0) + i] = ctx.time") in quoted
    opcodes = [code.insns[8 * one[0]] for one in records]
    assert all(opcodes), "no record may name the second half of a 64-bit immediate"


def test_the_type_of_the_function() -> None:
    code = compile_program(sample, context="kprobe", when="entry")
    made = debug_info(code, name="sample", file="a.py", first_line=1)
    assert made.func_info == bytes(4) + btf.FUNC_ID.to_bytes(4, "little")
    assert find_function(parse_sections(made.btf, is_split=False), "sample") == btf.FUNC_ID


def test_names_that_the_kernel_takes() -> None:
    assert btf.identifier("größe") == "gr__e"
    assert btf.identifier("1st") == "_1st"
    assert btf.identifier("") == "_"
    assert len(btf.identifier("x" * 500)) == 127


def test_strings_are_kept_once() -> None:
    strings = btf.Strings()
    assert strings.offset("") == 0
    assert strings.offset("a") == strings.offset("a") == 1
    assert strings.offset("b\0c") == 3
    assert bytes(strings) == b"\0a\0b c\0"

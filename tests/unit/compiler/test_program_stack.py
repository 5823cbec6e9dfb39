"""A program that needs more stack than there is says so, instead of taking the process with it."""

from __future__ import annotations

import linecache
from typing import Any

import pytest

import multiprobe as mp
from multiprobe.compiler.backend.stack import depth
from multiprobe.compiler.compiling import compile_program
from multiprobe.errors import CompileError

FILE = "<many locals>"


def program_with(n: int) -> Any:
    lines = ["@mp.program", "def many(ctx):"]
    lines += [f"    x{i} = table[{i}]" for i in range(n)]
    lines += [f"    out[{i}] = " + " + ".join(f"x{k} * {k + i + 1}" for k in range(n)) for i in range(2)]
    source = "\n".join(lines) + "\n"
    linecache.cache[FILE] = (len(source), None, source.splitlines(keepends=True), FILE)
    names = {"mp": mp, "table": mp.Hash(mp.u64, mp.u64), "out": mp.Array(mp.u64, 4)}
    exec(compile(source, FILE, "exec"), names)
    return names["many"]


def test_too_many_values_at_a_time() -> None:
    with pytest.raises(CompileError, match=r"'many' needs \d+ bytes of stack, and a BPF program has 512") as caught:
        compile_program(program_with(100), context="kprobe", when="entry", is_cached=False)
    assert (caught.value.file, caught.value.line) == (FILE, 1)
    assert "Array" in caught.value.hint


def test_what_fits() -> None:
    code = compile_program(program_with(20), context="kprobe", when="entry", is_cached=False)
    assert 0 < depth(code.insns)[0] <= 512


def insn(opcode: int, dst: int, src: int, offset: int, immediate: int) -> bytes:
    return (
        bytes((opcode, dst | src << 4))
        + offset.to_bytes(2, "little", signed=True)
        + immediate.to_bytes(4, "little", signed=True)
    )


def test_depth() -> None:
    assert depth(b"") == (0, 0)
    store, load = insn(0x7B, 10, 1, -24, 0), insn(0x79, 1, 10, -16, 0)
    assert depth(store + load) == (24, 0)
    address = insn(0xBF, 2, 10, 0, 0) + insn(0x07, 2, 0, 0, -40)
    assert depth(store + address) == (40, 2)
    assert depth(insn(0xBF, 2, 1, 0, 0) + insn(0x07, 2, 0, 0, -400)) == (0, 0), "not the stack's end"
    assert depth(insn(0x79, 1, 2, -600, 0)) == (0, 0)

"""Verifier logs are explained: the Python line first, then a hint."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

import multiprobe as mp
from multiprobe.compiler.compiling import compile_program
from multiprobe.compiler.verifier import _width, explain, last_instruction, location_of
from multiprobe.errors import VerifierError
from multiprobe.syscalls import bpf

out = mp.Array(mp.u64, 4)


@mp.program
def program(ctx):
    out[0] = ctx.arg(0)
    out[1] = ctx.arg(1) // ctx.arg(2)


LOG = """\
func#0 @0
0: R1=ctx() R10=fp0
0: (79) r2 = *(u64 *)(r1 +112)        ; R1=ctx() R2_w=scalar()
{insn}: (db) lock *(u64 *)(r2 +0) += r1
misaligned value access off (0x0; 0x7f)+0+0 size 8
processed 29 insns (limit 1000000) max_states_per_insn 0 total_states 2 peak_states 2 mark_read 1
"""


def refusal(cause: str, log: str) -> VerifierError:
    return VerifierError("loading a program", errno.EACCES, subject="program 'program'", cause=cause, log=log)


def test_the_line_is_quoted() -> None:
    code = compile_program(program, context="raw_tracepoint", when="entry")
    insn = max(insn for insn, place in code.lines if place >> 10 == 3 and place & 1023 == 14)
    log = LOG.format(insn=insn)
    explained = explain(refusal("misaligned value access", log), code, program)
    first, second, third, fourth = str(explained).splitlines()
    assert first == "the kernel's verifier refused program 'program': misaligned value access"
    assert second.strip().startswith(f"{__file__}:")
    assert third == "    out[1] = ctx.arg(1) // ctx.arg(2)"
    assert fourth == "             ^^^^^^^^^^"
    number = int(second.split(":")[1])
    assert Path(__file__).read_text().splitlines()[number - 1].strip() == "out[1] = ctx.arg(1) // ctx.arg(2)"
    assert explained.log == log
    assert explained.errno == errno.EACCES


@pytest.mark.parametrize(
    ("log", "insn"),
    [
        ("", None),
        ("no instruction here\n5: R1=ctx()\n", None),
        ("7: (95) exit\nR0 !read_ok\n", 7),
        (" 12: (85) call x\n", 12),
        ("12: (85) call x\n[the log was too long: here the kernel cut it off]\ntoo large\n", None),
    ],
)
def test_the_last_instruction(log: str, insn: int | None) -> None:
    assert last_instruction(log) == insn


def test_hints() -> None:
    code = compile_program(program, context="raw_tracepoint", when="entry")
    cause = "BPF program is too large. Processed 1000001 insn"
    explained = explain(refusal(cause, cause), code, program)
    assert "a million steps" in explained.hint
    assert str(explained) == f"the kernel's verifier refused program 'program': {cause}"
    assert "log" in explain(refusal("strange", ""), code, program).hint


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ("invalid func unknown#9999", "this kernel lacks"),
        ("back-edge from insn 3 to 1", "loop ends"),
        ("R2 invalid mem access 'scalar'", "memory at the address"),
        ("R0 !read_ok", "isn't set on every path"),
        ("combined stack size of 2 calls is 544. Too large", "512 bytes"),
        ("program of this type cannot use helper bpf_get_stack#67", "this kernel lacks"),
    ],
)
def test_what_the_kernel_means(cause: str, words: str) -> None:
    code = compile_program(program, context="raw_tracepoint", when="entry")
    explained = explain(refusal(cause, cause), code, program)
    assert cause in str(explained)
    assert words in explained.hint


def test_an_instruction_named_by_the_cause() -> None:
    code = compile_program(program, context="raw_tracepoint", when="entry")
    insn = next(insn for insn, place in code.lines if place >> 10 == 2)
    assert location_of(refusal(f"unreachable insn {insn}", ""), code) == code.location_of(insn)
    assert location_of(refusal("strange", ""), code) is None


def test_what_belongs_to_no_line() -> None:
    code = compile_program(program, context="raw_tracepoint", when="entry")
    last = next(insn for insn, place in code.lines if place == 0)
    explained = explain(refusal("strange", f"{last}: (95) exit\n"), code, program)
    assert str(explained).endswith(": in program")


def test_what_newer_kernels_explain_themselves() -> None:
    code = compile_program(program, context="raw_tracepoint", when="entry")
    log = "something new\n\nVerification failed: A: B\n\nReason:\n  R0 is\n  old.\n\nAt:\n  program @ x.py:1:2\n"
    assert bpf.cause_of(log) == "something new"
    assert explain(refusal(bpf.cause_of(log), log), code, program).hint.startswith("R0 is old (")


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("ctx.arg(1) // 2", 10),
        ("calls[ctx.function] += 1", 19),
        ("x)", 1),
        ("name", 4),
        ("+", 1),
        ("f((1), 2)]", 9),
    ],
)
def test_underlining(text: str, width: int) -> None:
    assert _width(text) == width

"""What becomes of a verifier's log: the Python line first, then what may help."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

import multiprobe as mp
from multiprobe.errors import VerifierError
from multiprobe.program.compiler import compile_program
from multiprobe.program.verifier import explain, last_instruction

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
    insn = next(insn for insn, line in code.lines if line == 3)
    log = LOG.format(insn=insn)
    explained = explain(refusal("misaligned value access", log), code, program)
    first, second = str(explained).splitlines()
    assert first == "the kernel's verifier refused program 'program': misaligned value access"
    assert second.strip().startswith(f"{__file__}:")
    assert second.endswith("out[1] = ctx.arg(1) // ctx.arg(2)")
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

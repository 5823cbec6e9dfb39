"""The kernel's verifier, and what becomes of its refusals: programs made to be refused, told by their Python lines."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from struct import pack, unpack_from

import pytest

import multiprobe as mp
from multiprobe.compiler import compiling
from multiprobe.compiler.code import Code
from multiprobe.compiler.program import Program
from multiprobe.links import loading
from multiprobe.links.plan import programs
from multiprobe.syscalls import bpf
from multiprobe.syscalls.fd import FileDescriptor
from multiprobe.uapi import info

calls = mp.PerFunction(mp.u64)
slots = mp.Array(mp.u64, 8)
CALL, KTIME_GET_NS = 0x85, 5


@mp.program
def innocent(ctx):
    calls[ctx.function] += 1
    slots[0] = ctx.arg(0)
    if ctx.arg(1) > 5:
        slots[1] = ctx.time + 1


@mp.program
def too_many_ways(ctx):
    n = ctx.arg(0)
    for i in range(100000):
        if n & 1:
            n = n // 2 + ctx.arg(1)
        else:
            n += i * ctx.arg(2)
    slots[0] = n


def clock(code: Code) -> int:
    """The instruction that calls bpf_ktime_get_ns."""
    return next(
        place
        for place in range(len(code.insns) // 8)
        if code.insns[8 * place] == CALL and unpack_from("<i", code.insns, 8 * place + 4) == (KTIME_GET_NS,)
    )


def put(code: Code, place: int, opcode: int, registers: int, offset: int, immediate: int) -> Code:
    insn = pack("<BBhi", opcode, registers, offset, immediate)
    return code._replace(insns=code.insns[: 8 * place] + insn + code.insns[8 * place + 8 :])


def refusal(monkeypatch: pytest.MonkeyPatch, change: Callable[[Code], Code]) -> mp.VerifierError:
    """The error of attaching the innocent program, whose code is made another."""
    compile_program = compiling.compile_program

    def compiled(program: Program, *, context: str, **options: object) -> Code:
        return change(compile_program(program, context=context, is_cached=False, **options))

    monkeypatch.setattr(programs, "compile_program", compiled)
    with pytest.raises(mp.VerifierError) as caught:
        mp.attach(innocent, "vfs_read").close()
    return caught.value


def test_a_helper_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    error = refusal(monkeypatch, lambda code: put(code, clock(code), CALL, 0, 0, 9999))
    first, second, third, fourth = str(error).splitlines()
    assert "9999" in first
    assert "'innocent'" in first
    assert second == f"  {__file__}:{innocent.function.__code__.co_firstlineno + 5}:"
    assert third.strip() == "slots[1] = ctx.time + 1"
    assert fourth == "    " + " " * len("slots[1] = ") + "^" * len("ctx.time")
    assert "this kernel lacks" in error.hint
    assert "; slots[1] = ctx.time + 1" in error.log, "the kernel's log quotes Python"


def test_an_address_out_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # what the clock says is used as an address: r1 = *(u64 *)(r0 + 0)
    error = refusal(monkeypatch, lambda code: put(code, clock(code) + 1, 0x79, 0x01, 0, 0))
    assert "R0 invalid mem access" in str(error)
    assert str(error).splitlines()[2].strip() == "slots[1] = ctx.time + 1"
    assert "memory at the address" in error.hint


def test_a_loop_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    error = refusal(monkeypatch, lambda code: put(code, clock(code), 0x05, 0, -1, 0))
    assert str(error).splitlines()[2].strip() == "slots[1] = ctx.time + 1"
    assert "loop" in error.hint or "never reached" in error.hint


@pytest.mark.once("6.1")
def test_a_program_too_large_for_the_verifier() -> None:
    with pytest.raises(mp.VerifierError) as caught:
        mp.attach(too_many_ways, "vfs_read").close()
    error = caught.value
    assert "too large" in error.cause or "too complex" in error.cause
    assert "million steps" in error.hint
    assert error.cause in error.log


@pytest.mark.once("7.3")
def test_the_source_of_what_is_loaded() -> None:
    tool = shutil.which("bpftool", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    with mp.attach(innocent, "vfs_read") as attachment:
        (prog,) = (program for part in attachment._links.parts for program in part.linked.open_programs())
        assert info.parse_prog(bpf.object_info(prog, info.PROG_SIZE)).btf_id
        if tool is None:
            return
        listing = subprocess.run(
            [tool, "prog", "dump", "xlated", "name", "innocent", "linum"], capture_output=True, text=True, check=True
        ).stdout
    assert "calls[ctx.function] += 1" in listing
    assert f"[file:{__file__}" in listing


def test_a_kernel_that_takes_no_debug_information(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_btf: bytes) -> FileDescriptor:
        raise mp.KernelError("loading BTF", 22)

    monkeypatch.setattr(loading.bpf, "btf_load", refuse)
    with mp.attach(innocent, "vfs_read") as attachment:
        assert attachment.report.attached == 1

"""The program that probes are tried on is what its comments say."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from multiprobe.binaries.instructions import Kind, kind_of
from multiprobe.elf import PT_LOAD, kind_and_machine, parse_segments
from multiprobe.links.mechanisms.leaf_program import CALLS, KILLED, LEAVES, leaf_program, sites

KINDS, ALL = list(LEAVES), list(LEAVES.values())
NATIVE = pytest.mark.skipif(os.uname().machine != "x86_64", reason="it is for x86-64")


def test_it_is_a_program_with_an_instruction_of_each_kind() -> None:
    data = leaf_program(ALL)
    assert kind_and_machine(data[:64]) == (2, 62)
    (segment,) = parse_segments(data)
    assert (segment.kind, segment.offset, segment.size) == (PT_LOAD, 0, len(data))
    found = [kind_of(data[site:]) for site in sites(ALL)]
    assert found == [kind for kind, leaf in LEAVES.items() for _ in leaf.probed]


def test_its_code() -> None:
    capstone = pytest.importorskip("capstone")
    disassembler = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)

    def lines(data: bytes, at: int, n: int) -> list[str]:
        return [f"{one.mnemonic} {one.op_str}".strip() for one in disassembler.disasm(data[at:], at, n)]

    data = leaf_program(ALL)
    main = lines(data, 0x100, 41)
    catching = ["mov esi, 0x4001d0", "xor edx, edx", "mov r10d, 8", "syscall"]
    assert main[:24] == [
        line for signal in ("4", "5", "7", "0xb") for line in ("mov eax, 0xd", f"mov edi, {signal}", *catching)
    ]
    assert main[24:] == [
        "mov eax, 0x25",
        "mov edi, 0xa",
        "syscall",
        "mov r13d, dword ptr [rsp]",
        f"mov ebx, {CALLS:#x}",
        "xor r12d, r12d",
        "call qword ptr [r13*8 + 0x4001e8]",
        "cmp rax, 0x1234",
        "je 0x18f",
        "inc r12d",
        "dec ebx",
        "jne 0x17c",
        "mov edi, r12d",
        "mov eax, 0x3c",
        "syscall",
        "int3",
        "int3",
    ]
    assert lines(data, 0x1C0, 3) == [f"add edi, {KILLED:#x}", "mov eax, 0x3c", "syscall"]
    first = sites([LEAVES[Kind.NOP5]])[0]
    assert lines(data, 0x280, 2) == ["mov qword ptr [rsp - 8], 0x1234", "nop dword ptr [rax + rax]"]
    assert lines(data, first + 5 + 16, 2) == ["mov rax, qword ptr [rsp - 8]", "ret"]


@NATIVE
@pytest.mark.parametrize("kind", KINDS)
def test_its_functions_are_right(tmp_path: Path, kind: Kind) -> None:
    """Unless the processor does not have the instruction."""
    assert ended(tmp_path, leaf_program(ALL), KINDS.index(kind)) in ((0,) if kind is Kind.NOP5 else (0, KILLED + 4))


@NATIVE
@pytest.mark.parametrize("kind", KINDS)
def test_it_counts_wrong_results(tmp_path: Path, kind: Kind) -> None:
    """Each of the probed instructions matters: in its place stand nops, or for the nop one that spoils the value."""
    if ended(tmp_path, leaf_program([LEAVES[kind]]), 0) == KILLED + 4:
        pytest.skip("this processor does not have the instruction")
    for place, code in zip(sites([LEAVES[kind]]), LEAVES[kind].probed, strict=True):
        data = bytearray(leaf_program([LEAVES[kind]]))
        other = bytes.fromhex("c64424f800") if kind is Kind.NOP5 else b"\x90" * len(code)  # mov byte [rsp - 8], 0
        data[place : place + len(code)] = other
        assert ended(tmp_path, bytes(data), 0) in (CALLS, KILLED + 5, KILLED + 11)


@NATIVE
def test_it_tells_by_which_signal_it_would_be_killed(tmp_path: Path) -> None:
    data = bytearray(leaf_program([LEAVES[Kind.NOP5]]))
    (site,) = sites([LEAVES[Kind.NOP5]])
    for code, signal in (("0f0b", 4), ("cc", 5), ("488b0425000000 00", 11)):  # ud2, int3, mov 0, %rax
        data[site : site + 8] = bytes.fromhex(code).ljust(8, b"\x90")
        assert ended(tmp_path, bytes(data), 0) == KILLED + signal


def ended(folder: Path, data: bytes, number: int) -> int:
    """The exit status of the program when it calls the function of that number."""
    program = folder / "leaf"
    program.write_bytes(data)
    program.chmod(0o755)
    return subprocess.run([program, *["x"] * number], check=False).returncode

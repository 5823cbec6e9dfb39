"""The program that the red-zone rule is tried on is what its comments say."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from multiprobe.elf import PT_LOAD, kind_and_machine, parse_segments
from multiprobe.links.mechanisms.leaf_program import CALLS, NOP5, SITE, leaf_program


def test_it_is_a_program_with_a_nop_in_its_function() -> None:
    data = leaf_program()
    assert kind_and_machine(data[:64]) == (2, 62)
    (segment,) = parse_segments(data)
    assert (segment.kind, segment.offset, segment.size) == (PT_LOAD, 0, len(data))
    assert data[SITE : SITE + 5] == NOP5


def test_its_code() -> None:
    capstone = pytest.importorskip("capstone")
    data = leaf_program()
    disassembler = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    code = [f"{one.mnemonic} {one.op_str}".strip() for one in disassembler.disasm(data[0x100:], 0x100)]
    assert code[:10] == [
        f"mov ebx, {CALLS:#x}",
        "xor r12d, r12d",
        "call 0x140",
        "cmp rax, 0x1234",
        "je 0x118",
        "inc r12d",
        "dec ebx",
        "jne 0x108",
        "mov edi, r12d",
        "mov eax, 0x3c",
    ]
    leaf = [f"{one.mnemonic} {one.op_str}".strip() for one in disassembler.disasm(data[0x140:], 0x140)]
    assert leaf == [
        "mov qword ptr [rsp - 8], 0x1234",
        "nop dword ptr [rax + rax]",
        "mov rax, qword ptr [rsp - 8]",
        "ret",
    ]


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="it is for x86-64")
@pytest.mark.parametrize(("spoiled", "wrong"), [(False, 0), (True, CALLS)])
def test_it_counts_wrong_results(tmp_path: Path, spoiled: bool, wrong: int) -> None:
    program = tmp_path / "leaf"
    data = leaf_program()
    # In place of the nop, an instruction that spoils the value: mov byte [rsp - 8], 0
    program.write_bytes(data[:SITE] + bytes.fromhex("c64424f800") + data[SITE + 5 :] if spoiled else data)
    program.chmod(0o755)
    assert subprocess.run([program], check=False).returncode == wrong

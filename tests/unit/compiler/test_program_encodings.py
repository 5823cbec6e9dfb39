"""Instructions mean what we think: llvm-objdump and a reading of our own say the same of what is generated.

encodings.txt holds what llvm-objdump 14 said of one instruction of each kind, for machines that have none.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from construct_source import programs
from disassembly import disassemble, elf, normal

from multiprobe.compiler.compiling import compile_program

TOOL = shutil.which("llvm-objdump")
ENCODINGS = Path(__file__).with_name("encodings.txt")
LISTED = re.compile(r"^ *\d+:\s+(.*)$")


def test_each_kind_of_instruction_reads_as_llvm_reads_it() -> None:
    lines = [line.split("\t") for line in ENCODINGS.read_text().splitlines()]
    assert len(lines) >= 40
    assert len({encoding[:2] for encoding, _ in lines}) == len(lines), "one for each opcode"
    for encoding, text in lines:
        assert disassemble(bytes.fromhex(encoding)) == [normal(text)], encoding


@pytest.mark.skipif(TOOL is None, reason="needs llvm-objdump")
@pytest.mark.parametrize("context", ["raw_tracepoint", "kprobe_multi", "tracing"])
def test_whole_programs_read_as_llvm_reads_them(context: str, tmp_path: Path) -> None:
    n = 0
    for program in programs():
        insns = compile_program(program, context=context, when="entry", is_cached=False).insns
        path = tmp_path / "program.o"
        path.write_bytes(elf(insns))
        command = [TOOL or "", "-d", "--no-show-raw-insn", str(path)]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        told = [normal(found[1]) for line in shown.splitlines() if (found := LISTED.match(line))]
        ours = disassemble(insns)
        assert len(told) == len(ours)
        for mine, theirs in zip(ours, told, strict=True):
            # LLVM 14 doesn't know the remainder, which BPF always had
            assert mine == theirs or (theirs == "<unknown>" and "%=" in mine)
        n += len(ours)
    assert n > 700

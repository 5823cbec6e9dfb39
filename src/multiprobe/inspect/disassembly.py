"""Disassembles x86-64 machine code with capstone, and returns instructions as values.

capstone is the extra `inspect`, imported at the first use.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from multiprobe.disassembler import load_capstone

if TYPE_CHECKING:
    from collections.abc import Iterator

_ADDRESS_MASK = (1 << 64) - 1
_LARGE = re.compile(r"\$(\d{5,})\b")
_WHOLE = {
    part: whole
    for whole, parts in {
        "rax": "eax ax al", "rbx": "ebx bx bl", "rcx": "ecx cx cl", "rdx": "edx dx dl", "rdi": "edi di dil",
        "rsi": "esi si sil", "rbp": "ebp bp bpl", "rsp": "esp sp spl",
    }.items()
    for part in (whole, *parts.split())
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, and those of its effects that reading a trampoline needs.

    address: of its first byte; code: its bytes; mnemonic, operands: in AT&T syntax
    target: the address to which a direct call or jump leads
    writes: the registers that it changes, under their 64-bit names
    loads: the register that it sets to a constant, and the constant
    points: the register that it sets to rbp plus this displacement
    stores: the register that it stores at rbp plus this displacement
    """

    address: int
    code: bytes
    mnemonic: str
    operands: str
    target: int | None = None
    writes: tuple[str, ...] = ()
    loads: tuple[str, int] | None = None
    points: tuple[str, int] | None = None
    stores: tuple[str, int] | None = None

    @property
    def text(self) -> str:
        """The instruction in an assembler's syntax."""
        return f"{self.mnemonic} {self.operands}".rstrip()

    @property
    def is_call(self) -> bool:
        """Whether it is a call."""
        return self.mnemonic.startswith("call")

    @property
    def is_jump(self) -> bool:
        """Whether it is a jump, conditional or not."""
        return self.mnemonic.startswith("j")

    @property
    def is_end(self) -> bool:
        """Whether control never continues after it."""
        return self.mnemonic.startswith(("ret", "jmp", "ud2", "int3", "hlt"))


def disassemble(code: bytes, address: int) -> tuple[Instruction, ...]:
    """All instructions of `code`, which lies at `address`; ends early at bytes that are none."""
    return tuple(_instructions(code, address))


def disassemble_routine(code: bytes, address: int) -> tuple[Instruction, ...]:
    """The instructions of the routine that `code` begins with, for code that is followed by something else.

    It ends where control can't go on and no jump before leads further.
    """
    found: list[Instruction] = []
    furthest = address
    for instruction in _instructions(code, address):
        found.append(instruction)
        target = instruction.target
        if instruction.is_jump and target is not None and address < target < address + len(code):
            furthest = max(furthest, target)
        if instruction.is_end and instruction.address + len(instruction.code) > furthest:
            break
    return tuple(found)


def _instructions(code: bytes, address: int) -> Iterator[Instruction]:
    capstone = load_capstone()
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    engine.syntax = capstone.CS_OPT_SYNTAX_ATT
    engine.detail = True
    for found in engine.disasm(code, address):
        yield _instruction(found)


def _instruction(found: Any) -> Instruction:
    x86 = load_capstone().x86
    operands = found.operands  # in AT&T order: the destination last
    target = loads = points = stores = None
    is_branch = found.mnemonic.startswith(("call", "j"))
    if is_branch and len(operands) == 1 and operands[0].type == x86.X86_OP_IMM:
        target = operands[0].imm & _ADDRESS_MASK
    elif len(operands) == 2:
        source, into = operands
        register = _WHOLE.get(found.reg_name(into.reg), "") if into.type == x86.X86_OP_REG else ""
        if register and found.mnemonic.startswith("mov") and source.type == x86.X86_OP_IMM:
            loads = (register, _immediate(found, source))
        elif register and found.mnemonic.startswith("xor") and source.type == into.type and source.reg == into.reg:
            loads = (register, 0)
        elif register and found.mnemonic.startswith("lea") and _is_frame(found, source):
            points = (register, source.mem.disp)
        elif found.mnemonic == "movq" and source.type == x86.X86_OP_REG and _is_frame(found, into):
            stores = (_WHOLE.get(found.reg_name(source.reg), found.reg_name(source.reg)), into.mem.disp)
    _, written = found.regs_access()
    writes = tuple(sorted({_WHOLE.get(found.reg_name(r), found.reg_name(r)) for r in written}))
    return Instruction(
        found.address, bytes(found.bytes), found.mnemonic, _spelled(found.op_str), target, writes, loads, points, stores
    )


def _spelled(operands: str) -> str:
    """Large constants in hexadecimal, as everywhere else: capstone writes some of them in decimal."""
    return _LARGE.sub(lambda match: f"${int(match[1]):#x}", operands)


def _immediate(found: Any, operand: Any) -> int:
    """The value that a register gets: 32-bit moves clear the upper half, 64-bit ones extend the sign."""
    mask = _ADDRESS_MASK if operand.size == 8 else (1 << 8 * operand.size) - 1
    value: int = operand.imm & mask
    return value


def _is_frame(found: Any, operand: Any) -> bool:
    """Is it the memory at rbp plus a displacement?"""
    x86 = load_capstone().x86
    if operand.type != x86.X86_OP_MEM:
        return False
    return bool(found.reg_name(operand.mem.base) == "rbp" and operand.mem.index == 0)

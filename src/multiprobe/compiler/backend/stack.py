"""How much of its stack a program uses, from its instructions. Pure; knows the instruction encoding only."""

from __future__ import annotations

from struct import unpack_from

from multiprobe.compiler.code import INSN_SIZE, LD_IMM64

STACK_SIZE = 512  # MAX_BPF_STACK
_FRAME = 10  # the register that holds the stack's end
_MOVE, _ADD = 0xBF, 0x07  # from a register, of a number; both in 64 bits
_LOAD, _STORE, _STORE_REGISTER = 1, 2, 3


def depth(insns: bytes) -> tuple[int, int]:
    """The most bytes below the stack's end that an instruction reaches, and that instruction."""
    deepest, at, insn = 0, 0, 0
    copies: set[int] = set()
    while insn < len(insns) // INSN_SIZE:
        opcode, registers, offset, immediate = unpack_from("<BBhi", insns, insn * INSN_SIZE)
        reached, target, source = 0, registers & 15, registers >> 4
        if opcode & 7 in (_LOAD, _STORE, _STORE_REGISTER):
            reached = -offset if (source if opcode & 7 == _LOAD else target) == _FRAME else 0
        elif opcode == _ADD and target in copies:
            reached = -immediate
        if opcode & 7 not in (_STORE, _STORE_REGISTER):
            copies.discard(target)
        if opcode == _MOVE and source == _FRAME:
            copies.add(target)
        if reached > deepest:
            deepest, at = reached, insn
        insn += 2 if opcode == LD_IMM64 else 1
    return deepest, at

"""Constants that are known when a program is linked, in one instruction instead of two.

LLVM has them as 64-bit immediates, which take two slots; none of them (sizes, counts, process ids) needs more than 31
bits. Knows the instruction encoding; must not know what the constants are.
"""

from __future__ import annotations

from struct import pack_into, unpack_from

from multiprobe.compiler.code import CONSTANT_SOURCE, INSN_SIZE, LD_IMM64, MOVE_IMMEDIATE

_CALL, _EXIT = 0x85, 0x95

Lines = tuple[tuple[int, int], ...]


def shorten(insns: bytes, lines: Lines) -> tuple[bytes, Lines]:
    """The same program with each hole for a constant in a single instruction, and its line table moved along."""
    starts, dropped = [], set()
    insn, n = 0, len(insns) // INSN_SIZE
    while insn < n:
        opcode, registers = unpack_from("<BB", insns, insn * INSN_SIZE)
        starts.append(insn)
        if opcode == LD_IMM64:
            if registers >> 4 == CONSTANT_SOURCE:
                dropped.add(insn + 1)
            else:
                starts.append(insn + 1)
            insn += 1
        insn += 1
    if not dropped:
        return insns, lines
    moved, new = {}, 0
    for insn in range(n + 1):  # a slot that is gone stands for what comes after it
        moved[insn] = new
        new += insn not in dropped
    return _packed(insns, starts, moved, dropped), tuple((moved[insn], line) for insn, line in lines)


def _packed(insns: bytes, starts: list[int], moved: dict[int, int], dropped: set[int]) -> bytes:
    made = bytearray()
    is_second = False
    for insn in starts:
        made += insns[insn * INSN_SIZE : (insn + 1) * INSN_SIZE]
        at, opcode = len(made) - INSN_SIZE, insns[insn * INSN_SIZE]
        if is_second:
            is_second = False
        elif insn + 1 in dropped:
            made[at] = MOVE_IMMEDIATE
        elif opcode == LD_IMM64:
            is_second = True
        elif opcode & 7 in (5, 6) and opcode not in (_CALL, _EXIT):
            target = insn + 1 + unpack_from("<h", made, at + 2)[0]
            pack_into("<h", made, at + 2, moved[target] - moved[insn] - 1)
    return bytes(made)

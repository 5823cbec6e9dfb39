"""Where control goes in a program, and taking instructions out of it. Knows the instruction encoding; nothing else."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from struct import pack_into, unpack_from

from multiprobe.compiler.code import INSN_SIZE, LD_IMM64
from multiprobe.uapi.bpf import CALL, EXIT, GOTO

_JUMPS = (5, 6)  # the classes of jumps that compare 64 and 32 bits

Lines = tuple[tuple[int, int], ...]


def jumps(insns: bytes) -> dict[int, int]:
    """Each jump and the instruction that it goes to."""
    found, insn = {}, 0
    while insn < len(insns) // INSN_SIZE:
        opcode, _, offset = unpack_from("<BBh", insns, insn * INSN_SIZE)
        if is_jump(opcode):
            found[insn] = insn + 1 + offset
        insn += 2 if opcode == LD_IMM64 else 1
    return found


def is_jump(opcode: int) -> bool:
    """Whether an instruction goes elsewhere, always or if a comparison holds."""
    return opcode & 7 in _JUMPS and opcode not in (CALL, EXIT)


def followers(insns: bytes, targets: Mapping[int, int]) -> dict[int, tuple[int, ...]]:
    """Where control may go from each instruction; `targets` are those of the jumps."""
    found: dict[int, tuple[int, ...]] = {}
    insn = 0
    while insn < len(insns) // INSN_SIZE:
        opcode = insns[insn * INSN_SIZE]
        after = insn + (2 if opcode == LD_IMM64 else 1)
        if opcode == EXIT:
            found[insn] = ()
        elif insn in targets:
            found[insn] = (targets[insn],) if opcode == GOTO else (after, targets[insn])
        else:
            found[insn] = (after,)
        insn = after
    return found


def without(insns: bytes, lines: Lines, dropped: Collection[int]) -> tuple[bytes, Lines]:
    """The same program without some slots, its jumps and its line table moved along.

    A slot that is gone stands for what comes after it.
    """
    moved, new = [], 0
    for slot in range(len(insns) // INSN_SIZE + 1):
        moved.append(new)
        new += slot not in dropped
    made = bytearray()
    is_second = False
    for slot in range(len(insns) // INSN_SIZE):
        if slot in dropped:
            continue
        made += insns[slot * INSN_SIZE : (slot + 1) * INSN_SIZE]
        at, opcode = len(made) - INSN_SIZE, insns[slot * INSN_SIZE]
        if is_second:
            is_second = False
        elif opcode == LD_IMM64:
            is_second = True
        elif is_jump(opcode):
            target = slot + 1 + unpack_from("<h", made, at + 2)[0]
            pack_into("<h", made, at + 2, moved[target] - moved[slot] - 1)
    return bytes(made), tuple((moved[insn], line) for insn, line in lines)

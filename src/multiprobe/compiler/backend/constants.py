"""Constants that are known when a program is linked, in the instruction that uses them, or else in one of their own.

LLVM has them as 64-bit immediates in registers, which take two slots; none of them (sizes, counts, process ids) needs
more than 31 bits. Knows the instruction encoding; must not know what the constants are.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import pack_into, unpack_from

from multiprobe.compiler.backend.flow import Lines, followers, is_jump, jumps, without
from multiprobe.compiler.code import CONSTANT_SOURCE, INSN_SIZE, LD_IMM64, MOVE_IMMEDIATE
from multiprobe.uapi.bpf import CALL, EXIT

_LOAD, _LOAD_REGISTER, _STORE, _STORE_REGISTER, _JUMP, _JUMP32 = 0, 1, 2, 3, 5, 6
_ALU = (4, 7)
_SOURCE = 8
"""The bit of an opcode that says that the right operand is a register."""
_MOVE, _NEGATE, _SWAP = 0xB0, 0x80, 0xD0
_FOLDED = (0x00, 0x10, 0x20, 0x40, 0x50, 0xA0)
"""Arithmetic by an immediate that the verifier takes whatever the number is: not divisions and shifts."""
_ATOMIC, _FETCH, _COMPARE_EXCHANGE = 0xC0, 0x01, 0xF1
_MOST_ARGUMENTS = 5


def shorten(insns: bytes, lines: Lines) -> tuple[bytes, Lines]:
    """The same program with each hole for a constant in a single instruction, and its line table moved along."""
    made, dropped = bytearray(insns), set()
    insn, n = 0, len(insns) // INSN_SIZE
    while insn < n:
        opcode, registers = unpack_from("<BB", insns, insn * INSN_SIZE)
        if opcode != LD_IMM64:
            insn += 1
            continue
        if registers >> 4 == CONSTANT_SOURCE:
            made[insn * INSN_SIZE] = MOVE_IMMEDIATE
            dropped.add(insn + 1)
        insn += 2
    return without(bytes(made), lines, dropped) if dropped else (insns, lines)


def fold(insns: bytes, lines: Lines, n_arguments: Mapping[int, int]) -> tuple[bytes, Lines]:
    """The same program with holes for constants in the instructions that use them, where nothing else does.

    n_arguments: of each helper that the program calls
    """
    targets = jumps(insns)
    after = followers(insns, targets)
    reached = set(targets.values())
    made, dropped = bytearray(insns), set()
    for insn in after:
        opcode, registers, _, hole = unpack_from("<BBhi", insns, insn * INSN_SIZE)
        if opcode != MOVE_IMMEDIATE or registers >> 4 != CONSTANT_SOURCE:
            continue
        use, register = insn + 1, registers & 15
        if use in reached or not _takes(insns, use, register):
            continue
        if all(_is_dead(insns, after, start, register, n_arguments) for start in after[use]):
            at = use * INSN_SIZE
            made[at] &= ~_SOURCE
            made[at + 1] = made[at + 1] & 15 | CONSTANT_SOURCE << 4
            pack_into("<i", made, at + 4, hole)
            dropped.add(insn)
    return without(bytes(made), lines, dropped) if dropped else (insns, lines)


def _takes(insns: bytes, insn: int, register: int) -> bool:
    """Whether an instruction has the register as its right operand only, and could have an immediate in its place."""
    opcode, registers = unpack_from("<BB", insns, insn * INSN_SIZE)
    if not opcode & _SOURCE or registers != registers & 15 | register << 4 or registers & 15 == register:
        return False
    return is_jump(opcode) or (opcode & 7 in _ALU and opcode & 0xF0 in _FOLDED)


def _is_dead(
    insns: bytes, after: Mapping[int, tuple[int, ...]], start: int, register: int, n_arguments: Mapping[int, int]
) -> bool:
    """Whether no instruction from `start` on reads what is in the register before the start."""
    seen, waiting = {start}, [start]
    while waiting:
        insn = waiting.pop()
        reads, writes = _accesses(insns, insn, n_arguments)
        if register in reads:
            return False
        if register not in writes:
            waiting += [following for following in after[insn] if following not in seen]
            seen.update(after[insn])
    return True


def _accesses(insns: bytes, insn: int, n_arguments: Mapping[int, int]) -> tuple[set[int], set[int]]:
    """The registers that an instruction reads, and those that it writes."""
    opcode, registers, _, immediate = unpack_from("<BBhi", insns, insn * INSN_SIZE)
    target, source = registers & 15, registers >> 4
    kind = opcode & 7
    if kind == _LOAD:
        return set(), {target}
    if kind == _LOAD_REGISTER:
        return {source}, {target}
    if kind == _STORE:
        return {target}, set()
    if kind == _STORE_REGISTER:
        return _stored(opcode, target, source, immediate)
    right = {source} if opcode & _SOURCE else set()
    if kind in _ALU:
        operation = opcode & 0xF0
        if operation == _MOVE:
            return right, {target}
        return {target} if operation in (_NEGATE, _SWAP) else {target} | right, {target}
    if opcode == CALL:
        n = _MOST_ARGUMENTS if source == 1 else n_arguments.get(immediate, _MOST_ARGUMENTS)
        return set(range(1, n + 1)), set(range(_MOST_ARGUMENTS + 1))
    if opcode == EXIT:
        return {0}, set()
    return {target} | right, set()


def _stored(opcode: int, target: int, source: int, immediate: int) -> tuple[set[int], set[int]]:
    """Of a store of a register, and of an atomic operation."""
    if opcode & 0xE0 != _ATOMIC:
        return {target, source}, set()
    if immediate == _COMPARE_EXCHANGE:
        return {0, target, source}, {0}
    return {target, source}, {source} if immediate & _FETCH else set()

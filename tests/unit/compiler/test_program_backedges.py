"""No loop is closed by falling through; what the program does, and its lines, stay."""

from __future__ import annotations

from struct import pack

import pytest
from machine import Machine
from runner import Bench

import multiprobe as mp
from multiprobe.compiler.backend.backedges import separate_back_edges

out = mp.Array(mp.u64, 4)
table = mp.Hash(mp.u64, mp.u64)


def insn(opcode: int, dst: int = 0, src: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    return pack("<BBhi", opcode, dst | src << 4, offset, immediate)


def is_refused(insns: bytes) -> bool:
    """The depth-first walk of 6.1's check_cfg: a back edge that is no jump is refused."""
    n = len(insns) // 8
    state, stack = [0] * n, [(0, 0)]
    state[0] = 1
    while stack:
        place, edge = stack.pop()
        opcode = insns[place * 8]
        offset = int.from_bytes(insns[place * 8 + 2 : place * 8 + 4], "little", signed=True)
        is_jump = opcode & 7 in (5, 6) and opcode not in (0x85, 0x95)
        if opcode == 0x95:
            edges = []
        elif not is_jump:
            edges = [place + (2 if opcode == 0x18 else 1)]
        elif opcode == 0x05:
            edges = [place + 1 + offset]
        else:
            edges = [place + 1, place + 1 + offset]
        if edge == len(edges):
            state[place] = 2
            continue
        stack.append((place, edge + 1))
        after = edges[edge]
        if state[after] == 1 and not is_jump:
            return True
        if state[after] == 0:
            state[after] = 1
            stack.append((after, 0))
    return False


#: r0 = 0; goto 4; (3) r0 += 10; (4) r0 += 1; if r0 < 40 goto 3; exit
ROTATED = b"".join(
    (
        insn(0xB7),
        insn(0x05, offset=1),
        insn(0x07, immediate=10),
        insn(0x07, immediate=1),
        insn(0xA5, offset=-3, immediate=40),
        insn(0x95),
    )
)


def test_a_rotated_loop_is_made_acceptable() -> None:
    assert is_refused(ROTATED)
    made, lines = separate_back_edges(ROTATED, ((0, 1), (2, 2), (3, 3), (5, 4)))
    assert not is_refused(made)
    assert len(made) == len(ROTATED) + 8
    assert lines == ((0, 1), (2, 2), (4, 3), (6, 4))
    assert Machine().run(made) == Machine().run(ROTATED) == 45


def test_what_needs_nothing_stays_as_it_is() -> None:
    straight = insn(0xB7) + insn(0x18) + insn(0) + insn(0x95)
    loop = insn(0xB7) + insn(0x07, immediate=1) + insn(0xA5, offset=-2, immediate=9) + insn(0x95)
    for insns in (straight, loop):
        assert separate_back_edges(insns, ((0, 1),)) == (insns, ((0, 1),))


@mp.program
def looping(ctx):
    w = mp.u64(0)
    while w < 5:
        w += 1
        table[7] = ctx.arg(0) << w
        if table[ctx.arg(1)]:
            break
        for i in range(10):
            out[1] += i
            if i == ctx.arg(2):
                continue
            table[i] += 1
    out[0] = w


@pytest.mark.parametrize("arguments", [(1, 2, 3), (0, 9, 20), (5, 100, 0)])
def test_programs_with_loops_are_acceptable(arguments: tuple[int, ...]) -> None:
    bench = Bench(looping).hit(*arguments)
    assert not is_refused(bench.insns)
    assert bench.array("out")[0] in range(1, 6)

"""Loops that old verifiers follow: no loop may be closed by mere falling through.

The verifier of 6.1 refuses a program in which an instruction that is not a jump is followed by the head of a loop that
was entered elsewhere ("back-edge from insn 93 to 94"; 6.12's doesn't), which is how LLVM likes to lay loops out. A jump
to the next instruction in between satisfies it; the verifier removes it again. Knows instructions; nothing else.
"""

from __future__ import annotations

from struct import pack_into

from multiprobe.compiler.backend.flow import Lines, followers, jumps
from multiprobe.compiler.code import INSN_SIZE
from multiprobe.uapi.bpf import GOTO

_JUMP_NEXT = bytes((GOTO, 0, 0, 0, 0, 0, 0, 0))


def separate_back_edges(insns: bytes, lines: Lines) -> tuple[bytes, Lines]:
    """The same program with such jumps put in, and its line table moved along."""
    targets = jumps(insns)
    after = followers(insns, targets)
    heads = set(targets.values())
    insns_before = [
        insn
        for insn, following in after.items()
        if insn not in targets and len(following) == 1 and following[0] in heads and _reaches(after, following[0], insn)
    ]
    followed = sorted(after[insn][0] for insn in insns_before)
    if not followed:
        return insns, lines
    return _insert(insns, targets, followed), tuple((_moved(insn, followed), line) for insn, line in lines)


def _reaches(after: dict[int, tuple[int, ...]], start: int, goal: int) -> bool:
    seen, waiting = {start}, [start]
    while waiting:
        insn = waiting.pop()
        if insn == goal:
            return True
        for following in after[insn]:
            if following not in seen:
                seen.add(following)
                waiting.append(following)
    return False


def _moved(insn: int, inserted: list[int]) -> int:
    """Where an instruction is once a jump was put before each of `inserted`."""
    return insn + sum(at <= insn for at in inserted)


def _insert(insns: bytes, targets: dict[int, int], inserted: list[int]) -> bytes:
    """Put a jump before each of `inserted`; jumps to those go to the instruction itself."""
    made = bytearray()
    for insn in range(len(insns) // INSN_SIZE):
        if insn in inserted:
            made += _JUMP_NEXT
        made += insns[insn * INSN_SIZE : (insn + 1) * INSN_SIZE]
    for insn, target in targets.items():
        new = _moved(insn, inserted)
        pack_into("<h", made, new * INSN_SIZE + 2, _moved(target, inserted) - new - 1)
    return bytes(made)

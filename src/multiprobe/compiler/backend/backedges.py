"""Loops that old verifiers follow: no loop may be closed by mere falling through.

The verifier of 6.1 refuses a program in which an instruction that is not a jump is followed by the head of a loop that
was entered elsewhere ("back-edge from insn 93 to 94"; 6.12's doesn't), which is how LLVM likes to lay loops out. A jump
to the next instruction in between satisfies it; the verifier removes it again. Knows instructions; nothing else.
"""

from __future__ import annotations

from struct import pack_into, unpack_from

INSN_SIZE = 8
_JUMP_NEXT = bytes((0x05, 0, 0, 0, 0, 0, 0, 0))
_LD_IMM64, _CALL, _EXIT, _GOTO = 0x18, 0x85, 0x95, 0x05

Lines = tuple[tuple[int, int], ...]


def separate_back_edges(insns: bytes, lines: Lines) -> tuple[bytes, Lines]:
    """The same program with such jumps put in, and its line table moved along."""
    targets = dict(_jumps(insns))
    followers = _followers(insns, targets)
    heads = set(targets.values())
    insns_before = [
        insn
        for insn, after in followers.items()
        if insn not in targets and len(after) == 1 and after[0] in heads and _reaches(followers, after[0], insn)
    ]
    followed = sorted(followers[insn][0] for insn in insns_before)
    if not followed:
        return insns, lines
    return _insert(insns, targets, followed), tuple((_moved(insn, followed), line) for insn, line in lines)


def _jumps(insns: bytes) -> list[tuple[int, int]]:
    found, insn = [], 0
    while insn < len(insns) // INSN_SIZE:
        opcode, _, offset = unpack_from("<BBh", insns, insn * INSN_SIZE)
        if opcode & 7 in (5, 6) and opcode not in (_CALL, _EXIT):
            found.append((insn, insn + 1 + offset))
        insn += 2 if opcode == _LD_IMM64 else 1
    return found


def _followers(insns: bytes, targets: dict[int, int]) -> dict[int, tuple[int, ...]]:
    """Where control may go from each instruction."""
    found: dict[int, tuple[int, ...]] = {}
    insn = 0
    while insn < len(insns) // INSN_SIZE:
        opcode = insns[insn * INSN_SIZE]
        after = insn + (2 if opcode == _LD_IMM64 else 1)
        if opcode == _EXIT:
            found[insn] = ()
        elif insn in targets:
            found[insn] = (targets[insn],) if opcode == _GOTO else (after, targets[insn])
        else:
            found[insn] = (after,)
        insn = after
    return found


def _reaches(followers: dict[int, tuple[int, ...]], start: int, goal: int) -> bool:
    seen, waiting = {start}, [start]
    while waiting:
        insn = waiting.pop()
        if insn == goal:
            return True
        for after in followers[insn]:
            if after not in seen:
                seen.add(after)
                waiting.append(after)
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

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
    places = [
        place
        for place, after in followers.items()
        if place not in targets and len(after) == 1 and after[0] in heads and _reaches(followers, after[0], place)
    ]
    after_places = sorted(followers[place][0] for place in places)
    if not after_places:
        return insns, lines
    return _insert(insns, targets, after_places), tuple((_moved(insn, after_places), line) for insn, line in lines)


def _jumps(insns: bytes) -> list[tuple[int, int]]:
    found, place = [], 0
    while place < len(insns) // INSN_SIZE:
        opcode, _, offset = unpack_from("<BBh", insns, place * INSN_SIZE)
        if opcode & 7 in (5, 6) and opcode not in (_CALL, _EXIT):
            found.append((place, place + 1 + offset))
        place += 2 if opcode == _LD_IMM64 else 1
    return found


def _followers(insns: bytes, targets: dict[int, int]) -> dict[int, tuple[int, ...]]:
    """Where control may go from each instruction."""
    found: dict[int, tuple[int, ...]] = {}
    place = 0
    while place < len(insns) // INSN_SIZE:
        opcode = insns[place * INSN_SIZE]
        after = place + (2 if opcode == _LD_IMM64 else 1)
        if opcode == _EXIT:
            found[place] = ()
        elif place in targets:
            found[place] = (targets[place],) if opcode == _GOTO else (after, targets[place])
        else:
            found[place] = (after,)
        place = after
    return found


def _reaches(followers: dict[int, tuple[int, ...]], start: int, goal: int) -> bool:
    seen, waiting = {start}, [start]
    while waiting:
        place = waiting.pop()
        if place == goal:
            return True
        for after in followers[place]:
            if after not in seen:
                seen.add(after)
                waiting.append(after)
    return False


def _moved(place: int, inserted: list[int]) -> int:
    """Where an instruction is once a jump was put before each of `inserted`."""
    return place + sum(at <= place for at in inserted)


def _insert(insns: bytes, targets: dict[int, int], inserted: list[int]) -> bytes:
    """Put a jump before each of `inserted`; jumps to those places go to the instruction itself."""
    made = bytearray()
    for place in range(len(insns) // INSN_SIZE):
        if place in inserted:
            made += _JUMP_NEXT
        made += insns[place * INSN_SIZE : (place + 1) * INSN_SIZE]
    for place, target in targets.items():
        new = _moved(place, inserted)
        pack_into("<h", made, new * INSN_SIZE + 2, _moved(target, inserted) - new - 1)
    return bytes(made)

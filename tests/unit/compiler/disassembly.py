"""BPF instructions in LLVM's notation, written from the instruction set's standard (RFC 9669), for tests only."""

from __future__ import annotations

import re
from struct import pack, unpack_from

SIZES = {0x00: "u32", 0x08: "u16", 0x10: "u8", 0x18: "u64"}
ALU = {0x00: "+=", 0x10: "-=", 0x20: "*=", 0x30: "/=", 0x40: "|=", 0x50: "&=", 0x60: "<<=", 0x70: ">>=", 0x90: "%="}
ALU |= {0xA0: "^=", 0xB0: "=", 0xC0: "s>>="}
JUMPS = {0x10: "==", 0x20: ">", 0x30: ">=", 0x40: "&", 0x50: "!=", 0x60: "s>", 0x70: "s>=", 0xA0: "<", 0xB0: "<="}
JUMPS |= {0xC0: "s<", 0xD0: "s<="}
ATOMIC = {0x00: "+=", 0x40: "|=", 0x50: "&=", 0xA0: "^="}


def disassemble(insns: bytes) -> list[str]:
    """One text for each instruction; the second half of a wide one has none."""
    texts, place = [], 0
    while place < len(insns) // 8:
        opcode, registers, offset, immediate = unpack_from("<BBhi", insns, place * 8)
        dst, src = registers & 15, registers >> 4
        if opcode == 0x18:
            (high,) = unpack_from("<i", insns, place * 8 + 12)
            texts.append(wide(dst, src, immediate, high))
            place += 2
            continue
        texts.append(one(opcode, dst, src, offset, immediate))
        place += 1
    return texts


def wide(dst: int, src: int, low: int, high: int) -> str:
    if src:
        return f"ld_pseudo r{dst}, {src}, {low}"
    return f"r{dst} = {(low & 0xFFFFFFFF) | (high & 0xFFFFFFFF) << 32} ll"


def one(opcode: int, dst: int, src: int, offset: int, immediate: int) -> str:
    kind, letter = opcode & 7, "w" if opcode & 7 in (4, 6) else "r"
    right = f"{letter}{src}" if opcode & 8 else str(immediate)
    if kind in (4, 7):
        if opcode & 0xF0 == 0x80:
            return f"{letter}{dst} = -{letter}{dst}"
        return f"{letter}{dst} {ALU[opcode & 0xF0]} {right}"
    if opcode == 0x85:
        return f"call {immediate}"
    if opcode == 0x95:
        return "exit"
    if opcode == 0x05:
        return f"goto {offset:+d}"
    if kind in (5, 6):
        return f"if {letter}{dst} {JUMPS[opcode & 0xF0]} {right} goto {offset:+d}"
    return memory(opcode, dst, src, offset, immediate)


def memory(opcode: int, dst: int, src: int, offset: int, immediate: int) -> str:
    size = SIZES[opcode & 0x18]
    base = dst if opcode & 7 in (2, 3) else src
    at = f"r{base} {'-' if offset < 0 else '+'} {abs(offset)}"
    place = f"*({size} *)({at})"
    if opcode & 0xE0 == 0xC0 and immediate == 0xF1:
        assert size == "u64"
        return f"r0 = cmpxchg_64({at}, r0, r{src})"
    if opcode & 0xE0 == 0xC0:
        return f"lock {place} {ATOMIC[immediate & 0xF0]} r{src}"
    return f"r{dst} = {place}" if opcode & 7 == 1 else f"{place} = {f'r{src}' if opcode & 7 == 3 else immediate}"


def normal(text: str) -> str:
    """What some version of llvm-objdump prints, with decimal numbers and without the names of targets."""
    text = re.sub(r" <[\w.+]*>$", "", " ".join(text.split()))
    text = re.sub(r"(?<!\w)(-?)0x([0-9a-f]+)", lambda found: found[1] + str(int(found[2], 16)), text)
    text = re.sub(r"^call (-?\d+)", r"call \1", text)
    if text.endswith(" ll"):  # of numbers with bit 63 set, some versions print the sign
        left, _, number = text.removesuffix(" ll").rpartition(" ")
        text = f"{left} {int(number) & ((1 << 64) - 1)} ll"
    return re.sub(r"\bw(\d+) = \*", r"r\1 = *", re.sub(r"(\*\(u\d+ \*\)\(.*\)) = w(\d+)$", r"\1 = r\2", text))


def elf(insns: bytes) -> bytes:
    """An object file of instructions only, as llvm-objdump reads it."""
    names = b"\0.text\0.shstrtab\0"
    strings = 64 + len(insns)
    table = -(-(strings + len(names)) // 8) * 8
    head = b"\x7fELF\2\1\1".ljust(16, b"\0")
    head += pack("<HHIQQQIHHHHHH", 1, 247, 1, 0, 0, table, 0, 64, 0, 0, 64, 3, 2)
    section = "<IIQQQQIIQQ"
    sections = bytes(64) + pack(section, 1, 1, 6, 0, 64, len(insns), 0, 0, 8, 0)
    sections += pack(section, 7, 3, 0, 0, strings, len(names), 0, 0, 1, 0)
    return (head + insns + names).ljust(table, b"\0") + sections

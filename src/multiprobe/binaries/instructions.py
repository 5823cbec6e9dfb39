"""The kinds of instructions that a kernel may take for another one when a probe is on them. Pure; x86 only.

What a kernel makes of each kind is not known here: `links` tries it.
"""

from __future__ import annotations

from enum import Enum

LONGEST = 15
"""No instruction is longer, in bytes."""
NOP5 = bytes.fromhex("0f1f440000")


class Kind(Enum):
    """What a kernel may take an instruction for.

    All kinds but NOP5 are instructions with the prefix VEX or EVEX: the kernel (arch/x86/kernel/uprobes.c) looks at the
    byte of the opcode, as if it were that of an instruction of one byte.
    """

    NOP5 = "a nop of five bytes"
    JUMP = "jo, jno, …, jg, jmp: emulated"
    CALL = "call: emulated"
    NOP = "nop: emulated"
    POPF = "popf: the trap flag stays set"
    RETURN = "ret: goes on where the kernel stepped over it"
    REFUSED = "none that can be probed"
    GENERAL = "one that the kernel steps over; it has no vector register (BMI)"
    OTHER = "one that the kernel steps over"
    APX = "not known: no program tries instructions of APX"


_VEX2, _VEX3, _EVEX = 0xC5, 0xC4, 0x62
"""The first bytes of vector instructions; in 64-bit code, no other instruction has them there."""
_PREFIXES = bytes.fromhex("26 2e 36 3e 64 65 67")
"""Segments and the size of addresses: those that may come before VEX and EVEX."""
FIRST_BYTES = frozenset((NOP5[0], _VEX2, _VEX3, _EVEX, *_PREFIXES))
"""An instruction that begins with another byte is of no kind."""
_REFUSED = bytes.fromhex(
    "06 07 0e 16 17 1e 1f 27 2f 37 3f 60 61 62 6c 6d 6e 6f 82 9a cc cd ce cf d4 d5 d6 e4 e5 e6 e7 ea ec ed ee ef"
    "f1 f4 fa fb"
)
_BY_OPCODE = {
    **dict.fromkeys(_REFUSED, Kind.REFUSED),
    **dict.fromkeys((*range(0x70, 0x80), 0xE9, 0xEB), Kind.JUMP),
    0xE8: Kind.CALL,
    0x90: Kind.NOP,
    0x9D: Kind.POPF,
    **dict.fromkeys((0xC2, 0xC3, 0xCA, 0xCB), Kind.RETURN),
}
_GENERAL = {2: bytes.fromhex("f2 f3 f5 f6 f7"), 3: bytes.fromhex("f0")}
"""By the number of the table of opcodes, those of BMI."""
_TABLE_OF_APX = 4


def kind_of(code: bytes) -> Kind | None:
    """The kind of the instruction with which `code` begins; None if it is of none."""
    if code.startswith(NOP5):
        return Kind.NOP5
    vector = code.lstrip(_PREFIXES).ljust(LONGEST, b"\0")
    if vector[0] == _VEX2:
        return _kind_of_vector(1, vector[2])
    if vector[0] == _VEX3:
        return _kind_of_vector(vector[1] & 0x1F, vector[3])
    return _kind_of_vector(vector[1] & 7, vector[4]) if vector[0] == _EVEX else None


def _kind_of_vector(table: int, opcode: int) -> Kind:
    if table == _TABLE_OF_APX:
        return Kind.APX
    return Kind.GENERAL if opcode in _GENERAL.get(table, b"") else _BY_OPCODE.get(opcode, Kind.OTHER)

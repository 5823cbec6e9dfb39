"""The kinds of instructions that a kernel may take for another one when a probe is on them. Pure; x86 only.

What a kernel makes of each kind is not known here: `links` tries it.
"""

from __future__ import annotations

from enum import Enum

LONGEST = 15
"""No instruction is longer, in bytes."""
NOP5 = bytes.fromhex("0f1f440000")


class Kind(Enum):
    """What a kernel (arch/x86/kernel/uprobes.c) does with an instruction, or takes it for.

    From JUMP on, those with the prefix VEX or EVEX: the kernel looks at the byte of the opcode, as if it were that of
    an instruction of one byte.
    """

    NOP5 = "a nop of five bytes: becomes a call"
    EXCHANGE = "xchg with r8: taken for a nop"
    PUSHF = "pushf: saves the trap flag"
    SYSCALL = "syscall: the trap comes an instruction late"
    PAUSE = "pause: the same in an emulator (QEMU 7.2)"
    REPEAT = "rep: a trap at each repetition"
    JUMP = "jo, jno, …, jg, jmp: emulated"
    CALL = "call: emulated"
    NOP = "nop: emulated"
    POPF = "popf: the trap flag stays set"
    RETURN = "ret: goes on where the kernel stepped over it"
    REFUSED = "none that can be probed"
    GENERAL = "one that the kernel steps over; it has no vector register (BMI)"
    OTHER = "one that the kernel steps over"
    APX = "not known: no program tries instructions of APX"


_PREFIXES = bytes.fromhex("26 2e 36 3e 64 65 66 67 f0 f2 f3")
_REPEATS = bytes.fromhex("f2 f3")
_REX = bytes(range(0x40, 0x50))
_STRINGS = bytes.fromhex("a4 a5 a6 a7 aa ab ac ad ae af")
_VEX2, _VEX3, _EVEX = 0xC5, 0xC4, 0x62
"""The first bytes of vector instructions; in 64-bit code, no other instruction has them there."""
_SYSCALL, _NOPL, _XCHG, _PUSHF = 0x05, 0x1F, 0x90, 0x9C
_ANY = bytes(range(256))
#: An instruction of one of the kinds begins with one of these bytes, followed by one of those.
BEGINNINGS = {
    0x0F: bytes([_SYSCALL, _NOPL]),
    **dict.fromkeys(_REX, bytes([0x0F, _XCHG, _PUSHF])),
    **dict.fromkeys(_REPEATS, _PREFIXES + _REX + _STRINGS + bytes([_XCHG])),
    **dict.fromkeys(set(_PREFIXES) - set(_REPEATS), _ANY),
    0x66: _PREFIXES + _REX + bytes([_PUSHF]),
    **dict.fromkeys((_VEX2, _VEX3, _EVEX, _PUSHF), _ANY),
}
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
    rest = code.lstrip(_PREFIXES)
    prefixes = code[: len(code) - len(rest)]
    rest = rest.ljust(LONGEST, b"\0")
    if rest[0] in (_VEX2, _VEX3, _EVEX):
        return _kind_of_vector(rest)
    rex, opcode = (rest[0], rest[1:]) if rest[0] in _REX else (0, rest)
    if opcode[0] == 0x0F:
        return Kind.SYSCALL if opcode[1] == _SYSCALL else None
    if opcode[0] == _PUSHF:
        return Kind.PUSHF
    if opcode[0] == _XCHG and rex & 1:
        return Kind.EXCHANGE
    if set(_REPEATS).isdisjoint(prefixes):
        return None
    return Kind.PAUSE if opcode[0] == _XCHG else Kind.REPEAT if opcode[0] in _STRINGS else None


def _kind_of_vector(code: bytes) -> Kind:
    table, opcode = {
        _VEX2: (1, code[2]),
        _VEX3: (code[1] & 0x1F, code[3]),
        _EVEX: (code[1] & 7, code[4]),
    }[code[0]]
    if table == _TABLE_OF_APX:
        return Kind.APX
    return Kind.GENERAL if opcode in _GENERAL.get(table, b"") else _BY_OPCODE.get(opcode, Kind.OTHER)

"""A program of one page that calls a leaf function, and exits with the number of calls whose result was wrong. Pure.

Written as machine code for x86-64: where multiprobe runs there need not be a compiler.
"""

from __future__ import annotations

from itertools import accumulate
from struct import pack
from typing import TYPE_CHECKING, NamedTuple

from multiprobe.binaries.instructions import NOP5, Kind
from multiprobe.elf import EM_X86_64, ET_EXEC, PF_X, PT_LOAD

if TYPE_CHECKING:
    from collections.abc import Sequence

CALLS = 20
VALUE = 0x1234
SECONDS = 10
"""A program that was led into a loop is killed after so many."""
SIGNALS = (4, 5, 7, 11)
"""SIGILL, SIGTRAP, SIGBUS, SIGSEGV: what a program meets that was led astray."""
KILLED = 128
"""Added to the signal's number, the exit status of a program that met one."""
_BASE, _START, _HANDLER, _ACTION, _TABLE, _LEAVES = 0x400000, 0x100, 0x1C0, 0x1D0, 0x1F0, 0x280
_SIZE = 0x80
"""Of the room for each function."""
_PF_R = 4
_SA_RESTORER = 0x04000000
_CATCH = "".join(
    "b80d000000"  # mov eax, 13: rt_sigaction
    f"bf{signal:02x}000000"  # mov edi, signal
    f"be{(_BASE + _ACTION).to_bytes(4, 'little').hex()}"  # mov esi, action
    "31d2"  # xor edx, edx
    "41ba08000000"  # mov r10d, 8
    "0f05"  # syscall
    for signal in SIGNALS
)
_MAIN = bytes.fromhex(
    _CATCH + "b825000000"  # mov eax, 37: alarm
    f"bf{SECONDS:02x}000000"  # mov edi, SECONDS
    "0f05"  # syscall
    "448b2c24"  # mov r13d, [rsp]: the number of arguments
    f"bb{CALLS:02x}000000"  # mov ebx, CALLS
    "4531e4"  # xor r12d, r12d
    f"42ff14ed{(_BASE + _TABLE - 8).to_bytes(4, 'little').hex()}"  # call [table - 8 + 8 * r13]
    f"483d{VALUE.to_bytes(4, 'little').hex()}"  # cmp rax, VALUE
    "7403"  # je +3
    "41ffc4"  # inc r12d
    "ffcb"  # dec ebx
    "75e9"  # jne to the call
    "4489e7"  # mov edi, r12d
    "b83c000000"  # mov eax, 60: exit
    "0f05"  # syscall
)
_EXIT_BY_SIGNAL = bytes.fromhex(
    f"81c7{KILLED.to_bytes(4, 'little').hex()}"  # add edi, KILLED
    "b83c000000"  # mov eax, 60: exit
    "0f05"  # syscall
)
_APART = b"\x90" * 16
"""Kernels step over a copy of so many bytes: what comes behind is not in the copy."""


class Leaf(NamedTuple):
    """A function that returns VALUE if each of the instructions of `probed` did what it must."""

    before: bytes
    probed: tuple[bytes, ...]
    after: bytes

    def code(self) -> bytes:
        """All of it."""
        return self.before + b"".join(self.probed) + _APART + self.after


def leaf_program(leaves: Sequence[Leaf]) -> bytes:
    """The file of a program, which calls the first of the functions without an argument, the second with one …"""
    handler = _BASE + _HANDLER
    parts = {
        _START: _MAIN,
        _HANDLER: _EXIT_BY_SIGNAL,
        _ACTION: pack("<4Q", handler, _SA_RESTORER, handler, 0),
        _TABLE: b"".join(pack("<Q", _BASE + _place(number)) for number in range(len(leaves))),
    } | {_place(number): leaf.code() for number, leaf in enumerate(leaves)}
    size = _place(len(leaves))
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head = ident + pack("<HHIQQQIHHHHHH", ET_EXEC, EM_X86_64, 1, _BASE + _START, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = pack("<IIQQQQQQ", PT_LOAD, PF_X | _PF_R, 0, _BASE, _BASE, size, size, 0x1000)
    data = bytearray((head + segment).ljust(size, b"\xcc"))
    for place, part in parts.items():
        data[place : place + len(part)] = part
    return bytes(data)


def sites(leaves: Sequence[Leaf]) -> list[int]:
    """Where the instructions to probe are in the file."""
    return [
        place
        for number, leaf in enumerate(leaves)
        for place in accumulate(map(len, leaf.probed[:-1]), initial=_place(number) + len(leaf.before))
    ]


def _place(number: int) -> int:
    return _LEAVES + number * _SIZE


def _leaf(before: str, probed: str, after: str) -> Leaf:
    """The same from hexadecimal digits; those of each instruction to probe stand between bars."""
    return Leaf(bytes.fromhex(before), tuple(map(bytes.fromhex, probed.split("|"))), bytes.fromhex(after))


_SET_UP = (
    "b834120000"  # mov eax, 0x1234
    "c5f96ec8"  # vmovd xmm1, eax
    "c5f9efc0"  # vpxor xmm0, xmm0, xmm0
)
_RETURN = "c5f97ec0c3"  # vmovd eax, xmm0; ret
_ONES = "ff" * 16

LEAVES = {
    Kind.NOP5: _leaf(
        "48c74424f834120000",  # mov qword [rsp - 8], 0x1234: below the stack pointer
        NOP5.hex(),
        "488b4424f8c3",  # mov rax, [rsp - 8]; ret
    ),
    Kind.EXCHANGE: _leaf(
        "31c0"  # xor eax, eax
        "41b834120000",  # mov r8d, VALUE
        "4990",  # xchg rax, r8
        "c3",  # ret
    ),
    Kind.PUSHF: _leaf(
        "",
        "9c",  # pushfq
        "58"  # pop rax
        "2500010000"  # and eax, 0x100: the trap flag
        "0534120000c3",  # add eax, VALUE; ret
    ),
    Kind.SYSCALL: _leaf(
        "b818000000"  # mov eax, 24: sched_yield
        "e806000000"  # call +6
        "0534120000c3",  # add eax, VALUE; ret
        "0f05c3",  # syscall; ret: a late trap is behind the return
        "",
    ),
    Kind.PAUSE: _leaf(
        "31c0"  # xor eax, eax
        "e806000000"  # call +6
        "0534120000c3",  # add eax, VALUE; ret
        "f390c3",  # pause; ret
        "",
    ),
    Kind.REPEAT: _leaf(
        "48c74424f834120000"  # mov qword [rsp - 8], VALUE
        "48c74424f000000000"  # mov qword [rsp - 16], 0
        "488d7424f8"  # lea rsi, [rsp - 8]
        "488d7c24f0"  # lea rdi, [rsp - 16]
        "b908000000",  # mov ecx, 8
        "f3a4",  # rep movsb
        "488b4424f0c3",  # mov rax, [rsp - 16]; ret
    ),
    Kind.JUMP: _leaf(
        _SET_UP,
        "c5f970d100"  # vpshufd xmm2, xmm1, 0
        "|c5f9ebc2",  # vpor xmm0, xmm0, xmm2
        _RETURN,
    ),
    Kind.CALL: _leaf(_SET_UP, "c5f1e8c0", _RETURN),  # vpsubsb xmm0, xmm1, xmm0
    Kind.NOP: _leaf(
        "c74424f834120000"  # mov dword [rsp - 8], 0x1234
        "c5f9efc0"  # vpxor xmm0, xmm0, xmm0
        "c5e9efd2"  # vpxor xmm2, xmm2, xmm2: the indices
        "c5e176db",  # vpcmpeqd xmm3, xmm3, xmm3: the mask
        "c4e261904414f8",  # vpgatherdd xmm0, [rsp + xmm2 - 8], xmm3
        _RETURN,
    ),
    Kind.POPF: _leaf(_SET_UP, "c4e2719dc2", _RETURN),  # vfnmadd132ss xmm0, xmm1, xmm2: -(xmm0 * xmm2) + xmm1
    Kind.RETURN: _leaf(
        _SET_UP,
        "c5f8c2c000",  # vcmpeqps xmm0, xmm0, xmm0
        "c5f9dbc1" + _RETURN,  # vpand xmm0, xmm0, xmm1
    ),
    Kind.REFUSED: _leaf(_SET_UP, "c5f9efc1", _RETURN),  # vpxor xmm0, xmm0, xmm1
    Kind.GENERAL: _leaf(
        "31c0"
        "31c9"
        "31f6"  # xor eax, eax; xor ecx, ecx; xor esi, esi
        "ba34120000",  # mov edx, 0x1234
        "c4e270f2c2"  # andn eax, ecx, edx
        "|c4e270f23513000000",  # andn esi, ecx, [rip + 19]
        "21f0c3" + _ONES,  # and eax, esi; ret
    ),
    Kind.OTHER: _leaf(
        "b836120000"  # mov eax, VALUE + 2
        "c5f96ec8"  # vmovd xmm1, eax
        "c5f9efc0",  # vpxor xmm0, xmm0, xmm0
        "c5f828d1"  # vmovaps xmm2, xmm1
        "|c5f829d3"  # vmovaps xmm3, xmm2, as a store
        "|c5e056c0"  # vorps xmm0, xmm3, xmm0
        "|c5f9fe051e000000"  # vpaddd xmm0, xmm0, [rip + 30]: -1
        "|c4c179fe0515000000",  # vpaddd xmm0, xmm0, [rip + 21], with the longer prefix and its bit B
        _RETURN + _ONES,
    ),
}

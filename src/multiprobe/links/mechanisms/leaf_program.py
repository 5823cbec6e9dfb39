"""A program of one page that calls a leaf function, and exits with the number of calls whose result was wrong. Pure.

The function keeps its result below the stack pointer, on both sides of a five-byte nop. Written as machine code: where
multiprobe runs there need not be a compiler.
"""

from __future__ import annotations

from struct import pack

from multiprobe.elf import EM_X86_64, ET_EXEC, PF_X, PT_LOAD

NOP5 = bytes.fromhex("0f1f440000")
CALLS = 100
_BASE, _START, _LEAF = 0x400000, 0x100, 0x140
_PF_R = 4
_MAIN = bytes.fromhex(
    f"bb{CALLS:02x}000000"  # mov ebx, CALLS
    "4531e4"  # xor r12d, r12d
    "e833000000"  # call leaf: 0x140 - 0x10d
    "483d34120000"  # cmp rax, 0x1234
    "7403"  # je +3
    "41ffc4"  # inc r12d
    "ffcb"  # dec ebx
    "75ec"  # jne to the call
    "4489e7"  # mov edi, r12d
    "b83c000000"  # mov eax, 60: exit
    "0f05"  # syscall
)
_BEFORE = bytes.fromhex("48c74424f834120000")  # mov qword [rsp - 8], 0x1234
_AFTER = bytes.fromhex("488b4424f8c3")  # mov rax, [rsp - 8]; ret
SITE = _LEAF + len(_BEFORE)
"""Where the nop is in the file."""


def leaf_program() -> bytes:
    """The file, for x86-64."""
    code = _MAIN.ljust(_LEAF - _START, b"\xcc") + _BEFORE + NOP5 + _AFTER
    size = _START + len(code)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head = ident + pack("<HHIQQQIHHHHHH", ET_EXEC, EM_X86_64, 1, _BASE + _START, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = pack("<IIQQQQQQ", PT_LOAD, PF_X | _PF_R, 0, _BASE, _BASE, size, size, 0x1000)
    return (head + segment).ljust(_START, b"\0") + code

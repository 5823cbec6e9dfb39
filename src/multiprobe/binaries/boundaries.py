"""Tells whether an instruction begins at an offset of a function, by disassembly from the function's first byte.

The kernel accepts a probe in the middle of an instruction, and changes what the program does.
"""

from __future__ import annotations

import os

from multiprobe.disassembler import load_capstone
from multiprobe.errors import NotSupportedError

_FIXED_WIDTH = {"aarch64": 4}


def why_no_boundary(code: bytes, offset: int, name: str) -> tuple[str, str]:
    """("", "") if an instruction of `code` begins at `offset`; else code and reason why it is refused."""
    width = _FIXED_WIDTH.get(os.uname().machine)
    begins = offset % width == 0 if width else _begins_at(code, offset)
    if begins:
        return "", ""
    if begins is None:
        reason = f"{name}+{offset:#x} may be inside an instruction: install capstone, which can tell"
        return "not_disassembled", reason
    return "inside_instruction", f"{name}+{offset:#x} is inside an instruction: a probe there would change the program"


def _begins_at(code: bytes, offset: int) -> bool | None:
    """Whether an x86-64 instruction begins at `offset`; None without a disassembler."""
    try:
        capstone = load_capstone()
    except NotSupportedError:
        return None
    at = 0
    for at, size, _, _ in capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64).disasm_lite(code, 0):
        if at + size > offset:
            break
    else:
        return False
    return bool(at == offset)

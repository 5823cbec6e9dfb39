"""Parses the arguments of USDT sites, as compilers write them in notes: `8@%rdi -4@-20(%rbp) 4@$5`, `8@[sp, 16]`.

Sources: sys/sdt.h of systemtap, the operand syntax of the GNU assembler, `struct pt_regs` of the kernel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from multiprobe.errors import DataError

SITE = "%site"
"""The name that `binaries.usdt_table` gives to the address of a site, from which it counts those of variables."""
_ARGUMENT = re.compile(r"(?:^|\s+)(-?)([1248])f?@")
_NUMBER = r"[-+]?(?:0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})"
_X86_MEMORY = re.compile(rf"({_NUMBER})?\((%\w+)?(?:,(%\w+)(?:,([1248]))?)?\)")
_ARM_MEMORY = re.compile(rf"\[(\w+)(?:, ?#?({_NUMBER}))?\]")
_ARM_INDEXED = re.compile(r"\[(\w+), ?(\w+)(?:, ?(?:lsl|LSL) ?#?([0-4]))?\]")
_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Register:
    """A register of `struct pt_regs`: the byte offset there, and the byte in the register at which the value begins."""

    offset: int
    byte: int = 0


@dataclass(frozen=True, slots=True)
class Operand:
    """Where an argument of `size` bytes is: in a register, in memory, or nowhere: a constant.

    register: it is there; or None: in memory at base + index * scale + constant if `is_memory`, else it is the constant
    """

    size: int
    is_signed: bool
    register: Register | None = None
    is_memory: bool = False
    base: Register | None = None
    index: Register | None = None
    scale: int = 1
    constant: int = 0


def parse_operands(text: str, machine: str) -> list[Operand | str]:
    """The arguments of a site of a program for `machine` (as in os.uname()); the text of those that can't be read."""
    starts = list(_ARGUMENT.finditer(text))
    ends = [one.start() for one in starts[1:]] + [len(text)] * bool(starts)
    parse = _PARSERS[machine]
    found: list[Operand | str] = []
    for one, end in zip(starts, ends, strict=True):
        where = text[one.end() : end].strip()
        try:
            found.append(parse(where, int(one[2]), one[1] == "-"))
        except DataError:
            found.append(where)
    return found


def _x86_64(where: str, size: int, is_signed: bool) -> Operand:
    if where.startswith("$"):
        return Operand(size, is_signed, constant=_number(where[1:]))
    if where in _X86_REGISTERS:
        return Operand(size, is_signed, _X86_REGISTERS[where])
    found = _X86_MEMORY.fullmatch(where)
    if found is None or not (found[2] or found[3]):
        raise DataError(where)
    constant, base, index, scale = found.groups()
    return Operand(
        size,
        is_signed,
        is_memory=True,
        base=_wide(base) if base else None,
        index=_wide(index) if index else None,
        scale=int(scale or 1),
        constant=_number(constant or "0"),
    )


def _aarch64(where: str, size: int, is_signed: bool) -> Operand:
    if where in _ARM_REGISTERS:
        return Operand(size, is_signed, _ARM_REGISTERS[where])
    if found := _ARM_MEMORY.fullmatch(where):
        base, constant = found.groups()
        return Operand(size, is_signed, is_memory=True, base=_arm_wide(base), constant=_number(constant or "0"))
    if found := _ARM_INDEXED.fullmatch(where):
        base, index, shift = found.groups()
        return Operand(
            size, is_signed, is_memory=True, base=_arm_wide(base), index=_arm_wide(index), scale=1 << int(shift or 0)
        )
    return Operand(size, is_signed, constant=_number(where.removeprefix("#")))


def _number(text: str) -> int:
    if not re.fullmatch(_NUMBER, text):
        raise DataError(text)
    return int(text, 0 if "x" in text.lower() else 10) & _MASK


def _wide(name: str) -> Register:
    """A register of 64 bits, which an address can be in; the address of the site itself."""
    if name == SITE:
        return _X86_SITE
    if name not in _X86_ADDRESSES:
        raise DataError(name)
    return _X86_REGISTERS[name]


def _arm_wide(name: str) -> Register:
    if name not in _ARM_REGISTERS or name.startswith("w"):
        raise DataError(name)
    return _ARM_REGISTERS[name]


# arch/x86/include/asm/ptrace.h
_X86_OFFSETS = {
    "r15": 0, "r14": 8, "r13": 16, "r12": 24, "bp": 32, "bx": 40, "r11": 48, "r10": 56, "r9": 64, "r8": 72, "ax": 80,
    "cx": 88, "dx": 96, "si": 104, "di": 112, "sp": 152,
}  # fmt: skip
_X86_SITE = Register(128)  # ip
_X86_ADDRESSES = {f"%{name}" if name[0] == "r" else f"%r{name}" for name in _X86_OFFSETS}


def _x86_registers() -> Mapping[str, Register]:
    found: dict[str, Register] = {}
    for name, offset in _X86_OFFSETS.items():
        if name.startswith("r"):
            names = [name, f"{name}d", f"{name}w", f"{name}b"]
        else:
            names = [f"r{name}", f"e{name}", name, f"{name[0]}l" if name.endswith("x") else f"{name}l"]
        found |= {f"%{one}": Register(offset) for one in names}
        if name.endswith("x"):
            found[f"%{name[0]}h"] = Register(offset, 1)
    return found


_X86_REGISTERS = _x86_registers()
# arch/arm64/include/asm/ptrace.h
_ARM_REGISTERS = {f"{width}{n}": Register(8 * n) for width in "xw" for n in range(31)} | {"sp": Register(248)}
_PARSERS = {"x86_64": _x86_64, "aarch64": _aarch64}

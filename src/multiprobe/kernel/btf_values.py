"""Raw arguments and return values, read as the kernel's types say: numbers with a sign, pointers, errnos, enums.

Pure over types (BTF) and numbers; reads nothing that a pointer points to. A value of more than 8 bytes, or a
struct, isn't in one register and stays raw.
"""

from __future__ import annotations

from multiprobe.errors import errno_name
from multiprobe.kernel import btf_format as fmt
from multiprobe.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from multiprobe.kernel.btf import Btf

    Spelled = str | int | bool

MAX_ERRNO = 4095
_REGISTERS = 6
_SIGN = 1 << 63


@value
class ValueType:
    """How to read a register: `bits` of it, as an "int", "unsigned", "bool", "pointer", "enum", "raw" or "void"."""

    kind: str
    bits: int = 64
    names: Mapping[int, str] = {}

    def read(self, raw: int) -> Spelled:
        """A register's content (unsigned, 64 bits) as a value: numbers stay numbers, the rest is spelled."""
        number = raw & ((1 << self.bits) - 1)
        if self.kind == "bool":
            return bool(number & 0xFF)
        if self.kind == "int":
            return number - (1 << self.bits) if number >> self.bits - 1 else number
        if self.kind == "enum":
            signed = number - (1 << self.bits) if number >> self.bits - 1 else number
            return self.names.get(signed) or self.names.get(number) or signed
        return f"{number:#x}" if self.kind in ("pointer", "raw") else number

    def read_returned(self, raw: int) -> Spelled | None:
        """The same for what a function returned: None for nothing, an errno by name where it can be one."""
        if self.kind == "void":
            return None
        found = self.read(raw)
        if self.kind == "pointer":
            is_error = raw >= (1 << 64) - MAX_ERRNO
            return f"-{errno_name((1 << 64) - raw)}" if is_error else "NULL" if not raw else found
        if self.kind == "int" and isinstance(found, int) and -MAX_ERRNO <= found < 0:
            return _errno(found)
        return found


def _errno(number: int) -> Spelled:
    name = errno_name(-number)
    return number if name.startswith("errno ") else f"-{name}"


@value
class Signature:
    """The parameters of a function that arrive in registers, and what it returns."""

    parameters: tuple[tuple[str, ValueType], ...]
    returned: ValueType

    def arguments(self, raw: Sequence[int]) -> dict[str, Spelled]:
        """Arguments by name, from the registers that hold them."""
        return {name: type_.read(number) for (name, type_), number in zip(self.parameters, raw, strict=False)}


#: What is known of a function without types.
UNKNOWN = Signature((), ValueType("raw"))


def signature(btf: Btf, type_id: int) -> Signature:
    """The signature of a function in BTF. Parameters behind one that takes two registers or the stack are left out."""
    parameters: list[tuple[str, ValueType]] = []
    for n, parameter in enumerate(btf.parameters(type_id)[:_REGISTERS]):
        if parameter.type_id == 0 or btf.size(parameter.type_id) > 8:
            break
        parameters.append((parameter.name or f"arg{n}", value_type(btf, parameter.type_id)))
    return Signature(tuple(parameters), value_type(btf, btf.target(btf.target(type_id))))


def value_type(btf: Btf, type_id: int) -> ValueType:
    """How to read a register that holds this type."""
    if type_id == 0:
        return ValueType("void")
    bare = btf.strip(type_id)
    kind, bits = btf.kind(bare), 8 * btf.size(bare)
    if kind == fmt.PTR:
        return ValueType("pointer")
    if kind in (fmt.ENUM, fmt.ENUM64):
        return ValueType("enum", bits, {number: name for name, number in btf.enumerators(bare).items()})
    if kind == fmt.INT and bits <= 64:
        name = btf.name(bare)
        return ValueType("bool" if name == "_Bool" else "unsigned" if "unsigned" in name else "int", bits)
    return ValueType("void") if kind == fmt.VOID else ValueType("raw")

"""Raw arguments and return values, read as the kernel's types say: numbers with a sign, pointers, errnos, enums, flags.

Pure over types (BTF) and numbers; reads nothing that a pointer points to. A value of more than 8 bytes, or a
struct, isn't in one register and stays raw.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from multiprobe.errors import errno_name
from multiprobe.kernel import flag_names
from multiprobe.kernel.btf import format as fmt
from multiprobe.kernel.btf import layout
from multiprobe.kernel.btf.spelling import integer_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from multiprobe.kernel.btf.types import Btf

    Spelled = str | int | bool

MAX_ERRNO = 4095
_REGISTERS = 6
_SIGN = 1 << 63


@dataclass(frozen=True, slots=True)
class ValueType:
    """How to read a register: `bits` of it, as an "int", "unsigned", "bool", "pointer", "enum", "raw" or "void"; not at
    all, "unreadable", for a `reason`; as
    "flags" (masks with `names`); in network order, as a "big" number or an "ipv4" or "ipv6" address; or as a number
    whose names are in a `table` of `flag_names`.

    may_be_errno: an `unsigned long`, in which functions return an address or a negative errno (IS_ERR_VALUE)
    is_kernel: negative numbers, and addresses near the end, that are returned are errnos
    record: the name of a struct that is returned in memory: the register holds its address
    """

    kind: str
    bits: int = 64
    names: Mapping[int, str] = field(default_factory=dict)
    table: str = ""
    may_be_errno: bool = False
    record: str = ""
    is_kernel: bool = True
    reason: str = ""

    def read(self, raw: int) -> Spelled:
        """A register's content (unsigned, 64 bits) as a value: numbers stay numbers, the rest is spelled."""
        number = raw & ((1 << self.bits) - 1)
        if self.kind == "big":
            number = flag_names.swap(number, self.bits // 8)
        if self.table:
            return flag_names.spell(self.table, number)
        if self.kind == "bool":
            return bool(number & 0xFF)
        if self.kind == "int":
            return number - (1 << self.bits) if number >> self.bits - 1 else number
        if self.kind == "enum":
            signed = number - (1 << self.bits) if number >> self.bits - 1 else number
            return self.names.get(number) or flag_names.spell_enum(signed, self.names)
        if self.kind == "flags":
            return flag_names.spell_flags(number, self.names)
        return self._spelled(number)

    def reader(self) -> Callable[[int], Spelled]:
        """`read` for many numbers, as short as this type allows."""
        mask, sign = (1 << self.bits) - 1, 1 << self.bits - 1
        if self.table:
            return self.read
        if self.kind == "unsigned":
            return mask.__and__
        if self.kind == "int":
            return lambda raw: ((raw & mask) ^ sign) - sign
        return "{:#x}".format if self.kind in ("pointer", "raw") and self.bits == 64 else self.read

    def _spelled(self, number: int) -> Spelled:
        if self.kind == "unreadable":
            return f"<not readable: {self.reason}>"
        if self.kind in ("ipv4", "ipv6"):
            return flag_names.spell_address(number.to_bytes(self.bits // 8, "little"))
        return f"{number:#x}" if self.kind in ("pointer", "raw") else number

    def read_returned(self, raw: int) -> Spelled | None:
        """The same for what a function returned: None for nothing, an errno by name where it can be one."""
        if self.kind == "void":
            return None
        found = self.read(raw)
        if self.record:
            return f"*({self.record} *){found}"
        if self.is_kernel and (self.kind == "pointer" or self.may_be_errno) and raw >= (1 << 64) - MAX_ERRNO:
            return _errno(raw - (1 << 64))
        if self.kind == "pointer":
            return found if raw else "NULL"
        if self.is_kernel and self.kind == "int" and isinstance(found, int) and -MAX_ERRNO <= found < 0:
            return _errno(found)
        return found


def _errno(number: int) -> Spelled:
    name = errno_name(-number)
    return number if name.startswith("errno ") else f"-{name}"


@dataclass(frozen=True, slots=True)
class Signature:
    """The parameters of a function that arrive in registers, and what it returns.

    first: the register of the first parameter, 1 where register 0 holds the address of the result (`first_slot`)
    places: the number of each parameter's register or place on the stack, None if it can't be read; without it they
        follow one another from `first` on
    words: of structs passed by value, by the number of the parameter, where each 8 bytes are (None: not readable)
    """

    parameters: tuple[tuple[str, ValueType], ...]
    returned: ValueType
    first: int = 0
    places: tuple[int | None, ...] | None = None
    words: Mapping[int, tuple[int | None, ...]] = field(default_factory=dict)

    @property
    def positions(self) -> tuple[int | None, ...]:
        """The number of each parameter's register or place on the stack; None if it can't be read."""
        if self.places is not None:
            return self.places
        return tuple(range(self.first, self.first + len(self.parameters)))

    @property
    def n_registers(self) -> int:
        """How many argument registers are needed to read all parameters."""
        places = [*self.positions, *(place for words in self.words.values() for place in words)]
        return max((place + 1 for place in places if place is not None), default=0)

    def arguments(self, raw: Sequence[int]) -> dict[str, Spelled]:
        """Arguments by name, from the contents of all argument registers; those in others are left out."""
        return {
            name: type_.read(raw[position or 0])
            for (name, type_), position in zip(self.parameters, self.positions, strict=True)
            if (position or 0) < len(raw)
        }


#: What is known of a function without types.
UNKNOWN = Signature((), ValueType("raw"))


def signature(btf: Btf, type_id: int, *, most: int = _REGISTERS, gfp: Mapping[int, str] = {}) -> Signature:
    """The signature of a function in BTF, as far as `most` registers hold it; `gfp` names the masks of gfp_t.

    Parameters behind one that takes two registers or the stack are left out.
    """
    parameters: list[tuple[str, ValueType]] = []
    first, returned = layout.first_slot(btf, type_id), btf.target(btf.target(type_id))
    for n, parameter in enumerate(btf.parameters(type_id)[: most - first]):
        if parameter.type_id == 0 or btf.size(parameter.type_id) > 8:
            break
        parameters.append(
            (parameter.name or f"arg{n}", value_type(btf, parameter.type_id, name=parameter.name, gfp=gfp))
        )
    result = ValueType("raw", record=btf.type_name(returned)) if first else value_type(btf, returned)
    return Signature(tuple(parameters), result, first)


def typedefs(btf: Btf, type_id: int) -> Iterator[str]:
    """The names that a type has on the way to what it is: `umode_t` for one, and what that is a typedef of."""
    while btf.kind(type_id) in fmt.MODIFIERS:
        if btf.kind(type_id) == fmt.TYPEDEF:
            yield btf.name(type_id)
        type_id = btf.target(type_id)


_NETWORK_ORDER = ("__be16", "__be32", "__be64")


def value_type(btf: Btf, type_id: int, *, name: str = "", gfp: Mapping[int, str] = {}) -> ValueType:
    """How to read a register that holds this type; the value's own `name` tells some flags."""
    if type_id == 0:
        return ValueType("void")
    bare = btf.strip(type_id)
    kind, bits = btf.kind(bare), 8 * btf.size(bare)
    if kind == fmt.PTR:
        return ValueType("pointer")
    if kind == fmt.INT and bits <= 64:
        names = tuple(typedefs(btf, type_id))
        is_address = bits == 32 and name.endswith("addr")
        if any(one in _NETWORK_ORDER for one in names):
            return ValueType("ipv4" if is_address else "big", bits, table="protocol" if name == "protocol" else "")
        table = flag_names.table_of(name, names)
        if table == "gfp":
            return ValueType("flags", bits, gfp)
        if table:
            return ValueType("unsigned", bits, table=table)
    if kind in (fmt.ENUM, fmt.ENUM64):
        return ValueType("enum", bits, {number: name for name, number in btf.enumerators(bare).items()})
    if kind == fmt.INT and bits <= 64:
        name = btf.name(bare)
        found = "bool" if name == "_Bool" else "unsigned" if "unsigned" in name else "int"
        is_plain_long = integer_name(name) == "unsigned long" and not any(typedefs(btf, type_id))
        return ValueType(found, bits, may_be_errno=is_plain_long and bits == 64)
    return ValueType("void") if kind == fmt.VOID else ValueType("raw")

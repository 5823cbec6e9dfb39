"""Types of data in maps and events: integers by width and sign, strings, bytes, and arrays of integers.

To a type checker they are the types of the values in Python: `u32` is int, `bool_` is bool, `string(16)` is str.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.errors import UsageError

MAX_STRING = 1 << 14


@dataclass(frozen=True, slots=True)
class Integer:
    """An integer type in maps and events. Calling it wraps a Python int into its range: `mp.u8(256) == 0`.

    name: as the kernel's C sources spell it; size: bytes; is_signed: whether it has negative values
    """

    name: str
    size: int
    is_signed: bool

    def __call__(self, number: int) -> int:
        if self.name == "bool":
            return bool(number)
        wrapped = int(number) & ((1 << 8 * self.size) - 1)
        return wrapped - (1 << 8 * self.size) if self.is_signed and wrapped >> (8 * self.size - 1) else wrapped

    def __repr__(self) -> str:
        return self.name


WORD = Integer("u64", 8, False)
"""`u64`, for our own use."""

if TYPE_CHECKING:
    from typing import TypeAlias

    u8: TypeAlias = int
    u16: TypeAlias = int
    u32: TypeAlias = int
    u64: TypeAlias = int
    i8: TypeAlias = int
    i16: TypeAlias = int
    i32: TypeAlias = int
    i64: TypeAlias = int
    bool_: TypeAlias = bool

    IntegerType: TypeAlias = type[int] | Integer
    """What a parameter takes that is to be one of these."""
else:
    u8 = Integer("u8", 1, False)
    u16 = Integer("u16", 2, False)
    u32 = Integer("u32", 4, False)
    u64 = WORD
    i8 = Integer("i8", 1, True)
    i16 = Integer("i16", 2, True)
    i32 = Integer("i32", 4, True)
    i64 = Integer("i64", 8, True)
    bool_ = Integer("bool", 1, False)


@dataclass(frozen=True, slots=True)
class StringType:
    """A string of the kernel's: up to `size` − 1 bytes of it and a NUL, in `size` bytes; zeros fill what is left."""

    size: int

    def __repr__(self) -> str:
        return f"string({self.size})"


@dataclass(frozen=True, slots=True)
class Bytes:
    """`size` bytes of memory, whatever they mean."""

    size: int

    def __repr__(self) -> str:
        return f"bytes({self.size})"


@dataclass(frozen=True, slots=True)
class Vector:
    """`length` integers of one type, one after the other."""

    item: Integer
    length: int

    @property
    def size(self) -> int:
        return self.length * self.item.size

    def __repr__(self) -> str:
        return f"array_of({self.item!r}, {self.length})"


FIELD_TYPES = (Integer, StringType, Bytes, Vector)


def string(size: int) -> type[str]:
    """The type of strings of up to `size` - 1 bytes and a NUL (size: 2 to 16384); longer ones are cut off.

    In Python a str. Raises UsageError for another size.
    """
    if not isinstance(size, int) or isinstance(size, bool) or not 2 <= size <= MAX_STRING:
        raise UsageError(f"a string takes 2 to {MAX_STRING} bytes, not {size!r}")
    return StringType(size)  # type: ignore[return-value]


def bytes_(size: int) -> type[bytes]:
    """The type of `size` bytes of memory (1 to 16384), bytes in Python. Raises UsageError for another size."""
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= MAX_STRING:
        raise UsageError(f"memory of 1 to {MAX_STRING} bytes can be a field, not {size!r}")
    return Bytes(size)  # type: ignore[return-value]


def array_of(item: IntegerType, length: int) -> type[tuple[int, ...]]:
    """The type of `length` integers of type `item`, a tuple in Python. Raises UsageError for another type or length."""
    if not isinstance(item, Integer):
        raise UsageError(f"{item!r} is not an integer type", hint="arrays are made of mp.u8 … mp.u64, mp.i8 … mp.i64")
    if not isinstance(length, int) or isinstance(length, bool) or not 1 <= length <= MAX_STRING // item.size:
        raise UsageError(f"an array has 1 to {MAX_STRING // item.size} items of {item!r}, not {length!r}")
    return Vector(item, length)  # type: ignore[return-value]


def alignment(type_: Integer | StringType | Bytes | Vector) -> int:
    """What a type's offset is a multiple of, as in C."""
    return type_.size if isinstance(type_, Integer) else type_.item.size if isinstance(type_, Vector) else 1


LETTERS = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "i8": "b", "i16": "h", "i32": "i", "i64": "q", "bool": "B"}
"""The letter of each type in `array_of`, `struct` and `memoryview.cast`."""
NUMPY = {
    "u8": "u1",
    "u16": "u2",
    "u32": "u4",
    "u64": "u8",
    "i8": "i1",
    "i16": "i2",
    "i32": "i4",
    "i64": "i8",
    "bool": "?",
}
"""The name of each type in NumPy."""

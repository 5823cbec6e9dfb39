"""Integer types: how wide a value is in memory (in maps, structures, arguments) and whether it has a sign.

Knows sizes and wrapping; must not know maps, programs or the kernel.
"""

from __future__ import annotations

from multiprobe.values import value


@value
class Integer:
    """An integer type of the kernel: `size` in bytes. Calling it wraps a Python integer into its range."""

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


u8 = Integer("u8", 1, False)
u16 = Integer("u16", 2, False)
u32 = Integer("u32", 4, False)
u64 = Integer("u64", 8, False)
i8 = Integer("i8", 1, True)
i16 = Integer("i16", 2, True)
i32 = Integer("i32", 4, True)
i64 = Integer("i64", 8, True)
bool_ = Integer("bool", 1, False)

LETTERS = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "i8": "b", "i16": "h", "i32": "i", "i64": "q", "bool": "B"}
"""The letter of each type in `array`, `struct` and `memoryview.cast`."""
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

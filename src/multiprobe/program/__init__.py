"""Python functions compiled to BPF."""

from multiprobe.maps.types import Integer, bool_, i8, i16, i32, i64, u8, u16, u32, u64
from multiprobe.program.programs import Program, function, program

__all__ = ["Integer", "Program", "bool_", "function", "i8", "i16", "i32", "i64", "program", "u8", "u16", "u32", "u64"]

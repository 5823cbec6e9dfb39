"""Encodes BTF: the type information and line table of a program (include/uapi/linux/btf.h).

Pure; only what programs of this project need. `kernel.btf` reads BTF.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MAGIC, VERSION = 0xEB9F, 1
KIND_INT, KIND_PTR, KIND_FUNC, KIND_FUNC_PROTO = 1, 2, 12, 13
FUNC_INFO_SIZE, LINE_INFO_SIZE = 8, 16
FUNC_ID = 4
"""The id of the function in what `one_function` makes."""

_HEADER = Struct("=HBBIIIII")
_TYPE = Struct("=III")
_PARAM = Struct("=II")
_WORD = Struct("=I")
_FUNC_INFO = Struct("=II")
_LINE_INFO = Struct("=IIII")
_INT_SIGNED = 1 << 24


class Strings:
    """A BTF string section in the making; offset 0 is the empty string."""

    def __init__(self) -> None:
        self._data = bytearray(1)
        self._offsets = {"": 0}

    def offset(self, text: str) -> int:
        """Where `text` lies, added if it is new."""
        if text not in self._offsets:
            self._offsets[text] = len(self._data)
            self._data += text.encode(errors="replace").replace(b"\0", b" ") + b"\0"
        return self._offsets[text]

    def __bytes__(self) -> bytes:
        return bytes(self._data)


def identifier(name: str) -> str:
    """`name` as the kernel takes it for a function: [A-Za-z0-9_], at most 127 of them."""
    made = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in name)[:127]
    return made if made and not made[0].isdigit() else f"_{made}"[:127]


def one_function(name: str, strings: Strings) -> bytes:
    """BTF with `int NAME(void *ctx)`; what `strings` holds goes into it, so this comes last."""
    types = (
        _TYPE.pack(strings.offset("int"), KIND_INT << 24, 4)
        + _WORD.pack(_INT_SIGNED | 32)
        + _TYPE.pack(0, KIND_PTR << 24, 0)
        + _TYPE.pack(0, KIND_FUNC_PROTO << 24 | 1, 1)
        + _PARAM.pack(strings.offset("ctx"), 2)
        + _TYPE.pack(strings.offset(identifier(name)), KIND_FUNC << 24, 3)
    )
    return object_of(types, strings)


def key_and_value() -> bytes:
    """BTF with the types of a map whose keys are `int` (type id 1) and whose values are `u64` (type id 2)."""
    strings = Strings()
    types = (
        _TYPE.pack(strings.offset("int"), KIND_INT << 24, 4)
        + _WORD.pack(_INT_SIGNED | 32)
        + _TYPE.pack(strings.offset("u64"), KIND_INT << 24, 8)
        + _WORD.pack(64)
    )
    return object_of(types, strings)


def object_of(types: bytes, strings: Strings) -> bytes:
    """A whole BTF object of its type records and strings."""
    text = bytes(strings)
    return _HEADER.pack(MAGIC, VERSION, 0, _HEADER.size, 0, len(types), len(types), len(text)) + types + text


def func_info(insn: int, type_id: int) -> bytes:
    """struct bpf_func_info: the function that begins at an instruction."""
    return _FUNC_INFO.pack(insn, type_id)


def line_info(records: Iterable[tuple[int, int, int, int]]) -> bytes:
    """struct bpf_line_info for each (instruction, file's name, line's text, line << 10 | column); the texts are offsets
    of strings."""
    return b"".join(_LINE_INFO.pack(*record) for record in records)

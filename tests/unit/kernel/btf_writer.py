"""Writes small BTF files for tests, record by record."""

from __future__ import annotations

import struct

KINDS = {"int": 1, "ptr": 2, "array": 3, "struct": 4, "union": 5, "enum": 6, "fwd": 7, "typedef": 8, "volatile": 9}
KINDS |= {"const": 10, "restrict": 11, "func": 12, "func_proto": 13, "var": 14, "type_tag": 18, "enum64": 19}


class BtfWriter:
    """Collects types, each of whose methods answers the new type's id; `data()` is the file."""

    def __init__(self, *, first_id: int = 1, string_base: int = 0) -> None:
        self._next = first_id
        self._string_base = string_base
        self._strings = bytearray() if string_base else bytearray(1)
        self._types = bytearray()

    def string(self, text: str) -> int:
        if not text:
            return 0
        self._strings += text.encode() + b"\0"
        return self._string_base + len(self._strings) - len(text) - 1

    def add(
        self,
        kind: str,
        name: str = "",
        target: int = 0,
        extra: tuple[int, ...] = (),
        *,
        vlen: int = 0,
        flag: bool = False,
    ) -> int:
        info = vlen | KINDS[kind] << 24 | flag << 31
        self._types += struct.pack(f"<III{len(extra)}I", self.string(name), info, target, *extra)
        self._next += 1
        return self._next - 1

    def integer(self, name: str, size: int) -> int:
        return self.add("int", name, size, (size * 8,))

    def signed(self, name: str, size: int) -> int:
        return self.add("int", name, size, (1 << 24 | size * 8,))

    def array(self, element: int, n: int, index: int) -> int:
        return self.add("array", extra=(element, index, n))

    def pointer(self, target: int) -> int:
        return self.add("ptr", target=target)

    def struct(
        self, name: str, size: int, *members: tuple[str, int, int], kind: str = "struct", flag: bool = False
    ) -> int:
        words = [word for member, kind_id, offset in members for word in (self.string(member), kind_id, offset)]
        return self.add(kind, name, size, tuple(words), vlen=len(members), flag=flag)

    def enum(self, name: str, *values: tuple[str, int], flag: bool = False) -> int:
        words = [word for key, number in values for word in (self.string(key), number & 0xFFFFFFFF)]
        return self.add("enum", name, 4, tuple(words), vlen=len(values), flag=flag)

    def enum64(self, name: str, *values: tuple[str, int], flag: bool = False) -> int:
        words = [w for key, n in values for w in (self.string(key), n & 0xFFFFFFFF, n >> 32 & 0xFFFFFFFF)]
        return self.add("enum64", name, 8, tuple(words), vlen=len(values), flag=flag)

    def prototype(self, returns: int, *params: tuple[str, int]) -> int:
        words = [word for name, type_id in params for word in (self.string(name), type_id)]
        return self.add("func_proto", target=returns, extra=tuple(words), vlen=len(params))

    def function(self, name: str, returns: int, *params: tuple[str, int]) -> int:
        return self.add("func", name, self.prototype(returns, *params), vlen=1)

    def data(self) -> bytes:
        header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self._types), len(self._types), len(self._strings))
        return bytes(header + self._types + self._strings)

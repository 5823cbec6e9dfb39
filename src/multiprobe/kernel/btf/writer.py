"""Writes BTF: type records in the order of their ids, as `btf` reads them. Pure.

Types that have no members are kept once: asked for again, they have the same id.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from multiprobe.kernel.btf import format as fmt
from multiprobe.uapi.btf import Strings, object_of

if TYPE_CHECKING:
    from collections.abc import Iterable

_HEAD = Struct("<III")
_THREE = Struct("<III")
_TWO = Struct("<II")
_WORD = Struct("<I")
_MASK = (1 << 32) - 1
SIGNED, BOOL = 1, 4
"""How an integer is read (BTF_INT_SIGNED, BTF_INT_BOOL)."""
MAX_BIT_FIELD_OFFSET = (1 << 24) - 1


class BtfWriter:
    """A BTF object in the making. Ids begin at 1; 0 is void."""

    def __init__(self) -> None:
        self._strings = Strings()
        self._records: list[bytes] = []
        self._known: dict[bytes, int] = {}

    def __len__(self) -> int:
        """The number of types so far."""
        return len(self._records)

    def reserve(self) -> int:
        """An id whose type is not known yet: a `struct` without a name or members, until `fill`."""
        self._records.append(self._head("", fmt.STRUCT, 0))
        return len(self._records)

    def _add(self, record: bytes) -> int:
        found = self._known.get(record)
        if found is None:
            self._records.append(record)
            found = self._known[record] = len(self._records)
        return found

    def _head(self, name: str, kind: int, target: int, *, n: int = 0, flag: bool = False) -> bytes:
        return _HEAD.pack(self._strings.offset(name), flag << 31 | kind << 24 | n, target & _MASK)

    def integer(self, name: str, size: int, encoding: int = 0) -> int:
        """An integer of `size` bytes."""
        return self._add(self._head(name, fmt.INT, size) + _WORD.pack(encoding << 24 | 8 * min(size, 16)))

    def floating(self, name: str, size: int) -> int:
        """A floating-point number, or a vector."""
        return self._add(self._head(name, fmt.FLOAT, size))

    def reference(self, kind: int, target: int, name: str = "") -> int:
        """A pointer, typedef, qualifier or function that refers to another type."""
        return self._add(self._head(name, kind, target))

    def array(self, element: int, n: int, index: int) -> int:
        """`n` elements."""
        return self._add(self._head("", fmt.ARRAY, 0) + _THREE.pack(element, index, n & _MASK))

    def forward(self, name: str, *, is_union: bool) -> int:
        """A struct or union of which only the name is known."""
        return self._add(self._head(name, fmt.FWD, 0, flag=is_union))

    def enum(self, name: str, size: int, names: Iterable[tuple[str, int]], *, is_signed: bool) -> int:
        """An enum of `size` bytes."""
        values = list(names)
        kind = fmt.ENUM64 if size > 4 else fmt.ENUM
        packed = [(self._strings.offset(text), number & _MASK, number >> 32 & _MASK) for text, number in values]
        body = b"".join(_THREE.pack(*one) if kind == fmt.ENUM64 else _TWO.pack(*one[:2]) for one in packed)
        return self._add(self._head(name, kind, size, n=len(values), flag=is_signed) + body)

    def prototype(self, returned: int, parameters: Iterable[tuple[str, int]]) -> int:
        """What a function takes and returns."""
        params = list(parameters)
        body = b"".join(_TWO.pack(self._strings.offset(name), type_id) for name, type_id in params)
        return self._add(self._head("", fmt.FUNC_PROTO, returned, n=len(params)) + body)

    def fill_record(
        self, type_id: int, name: str, size: int, members: Iterable[tuple[str, int, int, int]], *, is_union: bool
    ) -> None:
        """The struct or union with a reserved id; members: (name, type, offset in bits, width of a bit field or 0).

        Bit fields, and what stands in a struct with bit fields, must begin below bit 1 << 24: others are left out.
        """
        found = list(members)
        has_bits = any(bits for *_, bits in found)
        most = MAX_BIT_FIELD_OFFSET if has_bits else _MASK
        found = [one for one in found if 0 <= one[2] <= most and one[3] < 256]
        body = b"".join(
            _THREE.pack(self._strings.offset(text), type_id, bits << 24 | offset)
            for text, type_id, offset, bits in found
        )
        kind = fmt.UNION if is_union else fmt.STRUCT
        self._records[type_id - 1] = self._head(name, kind, size, n=len(found), flag=has_bits) + body

    def fill_forward(self, type_id: int, name: str, *, is_union: bool) -> None:
        """The same for one of which only the name is known."""
        self._records[type_id - 1] = self._head(name, fmt.FWD, 0, flag=is_union)

    def fill_reference(self, type_id: int, kind: int, target: int, name: str = "") -> None:
        """The same for what refers to another type."""
        self._records[type_id - 1] = self._head(name, kind, target)

    def __bytes__(self) -> bytes:
        return object_of(b"".join(self._records), self._strings)

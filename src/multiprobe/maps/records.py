"""Records: named fields of fixed types, naturally aligned, as programs write them and Python decodes them."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from multiprobe.errors import UsageError
from multiprobe.maps.types import FIELD_TYPES, LETTERS, NUMPY, Bytes, Integer, StringType, Vector, alignment
from multiprobe.names import decode_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    import numpy as np

Type = Integer | StringType | Bytes | Vector


class RecordField(NamedTuple):
    """One field: `offset` in bytes from the record's start."""

    name: str
    type: Type
    offset: int


class RecordLayout(NamedTuple):
    """A record's fields, and its size in bytes (a multiple of its widest integer)."""

    fields: tuple[RecordField, ...]
    size: int

    def shape(self) -> tuple[object, ...]:
        """All that the code of a program depends on."""
        return tuple((field.name, repr(field.type)) for field in self.fields)

    def form(self, *, before: int = 0, stride: int = 0) -> Struct:
        """The record as a `struct` of `stride` bytes, with `before` bytes in front that are left out."""
        form, end = f"<{before}x", 0
        for field in self.fields:
            form += f"{field.offset - end}x{form_of(field.type)}"
            end = field.offset + field.type.size
        return Struct(f"{form}{(stride or before + self.size) - before - end}x")

    def dtype(self) -> np.dtype[np.void]:
        """The record as a NumPy type: strings are bytes ("S"), their trailing zeros left out when read."""
        import numpy as np

        return np.dtype(
            {
                "names": [field.name for field in self.fields],
                "formats": [numpy_of(field.type) for field in self.fields],
                "offsets": [field.offset for field in self.fields],
                "itemsize": self.size,
            }
        )

    def decoder(self, make: Callable[[Iterable[Any]], Any]) -> Callable[[Iterable[tuple[Any, ...]]], Iterator[Any]]:
        """From what `form` unpacks to objects: `make` is given the values of one record, strings decoded."""
        if not any(isinstance(field.type, StringType | Vector) for field in self.fields):
            return lambda unpacked: map(make, unpacked)

        def decode(unpacked: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
            columns = list(zip(*unpacked, strict=True))
            if not columns:
                return iter(())
            return map(make, zip(*self._columns(columns), strict=True))

        return decode

    def _columns(self, columns: Sequence[tuple[Any, ...]]) -> Iterator[Iterable[Any]]:
        at = 0
        for field in self.fields:
            if isinstance(field.type, StringType):
                yield map(decode_name, columns[at])
            elif isinstance(field.type, Vector):
                yield zip(*columns[at : at + field.type.length], strict=True)
                at += field.type.length - 1
            else:
                yield columns[at]
            at += 1


def make_record(fields: Mapping[str, object]) -> RecordLayout:
    """The record with these fields, in order. Raises UsageError for what is no type, and for no fields at all."""
    made, end, widest = [], 0, 1
    for name, type_ in fields.items():
        if not isinstance(type_, FIELD_TYPES):
            raise UsageError(
                f"field {name!r} has no type that a record can hold: {type_!r}",
                hint="use an integer type (mp.u32), mp.string(size), mp.bytes_(size) or mp.array_of(type, length)",
            )
        align = alignment(type_)
        offset = -(-end // align) * align
        made.append(RecordField(name, type_, offset))
        end, widest = offset + type_.size, max(widest, align)
    if not made:
        raise UsageError("a record needs at least one field", hint="class Open(mp.Event): pid: mp.u32")
    return RecordLayout(tuple(made), -(-end // widest) * widest)


def form_of(type_: Type) -> str:
    """A type in `struct`'s words."""
    if isinstance(type_, StringType | Bytes):
        return f"{type_.size}s"
    if isinstance(type_, Vector):
        return f"{type_.length}{_letter(type_.item)}"
    return _letter(type_)


def _letter(type_: Integer) -> str:
    return "?" if type_.name == "bool" else LETTERS[type_.name]


def numpy_of(type_: Type) -> object:
    """A type in NumPy's words."""
    if isinstance(type_, StringType):
        return f"S{type_.size}"
    if isinstance(type_, Bytes):
        return f"V{type_.size}"
    if isinstance(type_, Vector):
        return (NUMPY[type_.item.name], (type_.length,))
    return NUMPY[type_.name]

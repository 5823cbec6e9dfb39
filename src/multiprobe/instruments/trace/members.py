"""Chooses the members of structs behind arguments that are decoded: well-known ones, whole structs, or given paths.

Reads BTF through the compiler's view of it; `trace.reads` plans the reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.errors import MultiprobeError, UsageError
from multiprobe.instruments.trace import well_known
from multiprobe.instruments.trace.reads import (
    MAX_OFFSET,
    MAX_OFFSETS,
    Items,
    Members,
    Node,
    Number,
    Planner,
    Pointer,
    Socket,
    ValuePlanner,
)
from multiprobe.kernel.btf import format as fmt
from multiprobe.kernel.btf import layout
from multiprobe.kernel.btf.values import ValueType, value_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from multiprobe.compiler.frontend.typed import KernelTypes, Ref
    from multiprobe.instruments.trace.well_known import Paths

MAX_MEMBERS = 24
"""The number of members decoded of one struct."""
MAX_NESTED = 4
MAX_ITEMS = 8
CHARACTERS = {"char", "unsigned char", "signed char"}


@dataclass(frozen=True, slots=True)
class Spot:
    """A memory location behind an argument, with the type `ref`.

    offsets: each but the last is added and the pointer there followed
    declared: (module, type id) of the declaration, with its typedefs
    limit: the end of the struct that the last pointer led to
    """

    offsets: tuple[int, ...]
    ref: Ref
    declared: tuple[str, int] = ("", 0)
    name: str = ""
    shift: int = 0
    bits: int = 0
    limit: int = 0


class Behind:
    """Makes the nodes that decode what the arguments of one function point to; `planner` collects the reads.

    is_kernel: names of structs and members mean what they mean in the kernel
    """

    def __init__(
        self, types: KernelTypes, planner: Planner, *, gfp: Mapping[int, str] = {}, is_kernel: bool = True
    ) -> None:
        self.types = types
        self.planner = planner
        self.is_kernel = is_kernel
        self.gfp = gfp

    def by_value(self, words: Sequence[int | None]) -> Behind:
        """The same for the members of a struct that is passed by value, in these words."""
        return Behind(self.types, ValuePlanner(self.planner, words), is_kernel=self.is_kernel)

    # Locations

    def place_of(self, module: str, type_id: int) -> Spot:
        """The location of a value of this type itself."""
        ref = self.types.ref(module, type_id)
        return Spot((0,), ref, limit=self.types.size(ref))

    def argument(self, ref: Ref) -> Spot | None:
        """The location that an argument of this type points to; None unless it is a pointer to a known type."""
        if ref.stars < 1 or (ref.stars == 1 and not ref.type_id):
            return None
        target = ref.target
        return Spot((0,), target, limit=self.types.size(target))

    def member(self, spot: Spot, name: str) -> Spot:
        """A member of the struct there, or of the struct that a pointer there leads to. Raises UsageError."""
        if spot.ref.stars:
            spot = self.behind(spot)
        if not self.types.is_record(spot.ref):
            raise UsageError(f"{self.types.spell(spot.ref)} has no member {name!r}: it is not a struct")
        field, ref = self.types.field(spot.ref, name)
        return self._at(spot, field, ref)

    def _at(self, spot: Spot, field: layout.StructField, ref: Ref) -> Spot:
        offset = spot.offsets[-1] + field.offset
        if offset > MAX_OFFSET:
            raise UsageError(f"{field.name} is at offset {offset} of its struct: trace reads up to {MAX_OFFSET}")
        shift = field.bit_offset % 8 if field.bits else 0
        declared = (spot.ref.module, field.type_id)
        return Spot((*spot.offsets[:-1], offset), ref, declared, field.name, shift, field.bits, spot.limit)

    def behind(self, spot: Spot) -> Spot:
        """The location that a pointer there leads to."""
        if len(spot.offsets) == MAX_OFFSETS:
            raise UsageError(
                f"{spot.name} is behind {MAX_OFFSETS} pointers: trace follows up to {MAX_OFFSETS - 1}",
                hint="write a program that reads it: see docs/language.md",
            )
        target = spot.ref.target
        return Spot((*spot.offsets, 0), target, name=spot.name, limit=self.types.size(target))

    def follow(self, spot: Spot, path: str) -> Spot:
        """The member at the path `a.b.c`. Raises UsageError, which suggests a similar name."""
        for name in path.split("."):
            spot = self.member(spot, name)
        return spot

    # Nodes

    def well_known(self, position: int, spot: Spot, *, is_whole: bool = False) -> Node | None:
        """The well-known members that identify a struct; None for other structs.

        is_whole: all direct members are decoded anyway; leave them out
        """
        name = self._record_name(spot) if self.is_kernel else ""
        self.planner.is_first = True
        try:
            if name in well_known.SOCKETS:
                return self._socket(position, spot, well_known.SOCKETS[name])
            paths = well_known.MEMBERS.get(name, ())
            return self._members(position, spot, tuple(path for path in paths if not is_whole or "." in path[1]))
        finally:
            self.planner.is_first = False

    def _record_name(self, spot: Spot) -> str:
        is_record = self.types.is_record(spot.ref)
        return self.types.btf(spot.ref.module).name(spot.ref.type_id) if is_record else ""

    def _members(self, position: int, spot: Spot, paths: Paths, prefix: str = "") -> Members | None:
        found: dict[str, Node] = {}
        for label, path in paths:
            try:
                node = self.value(position, self.follow(spot, prefix + path))
            except MultiprobeError:
                continue
            if node is not None:
                found.setdefault(label, node)
        return Members(tuple(found.items())) if found else None

    def _socket(self, position: int, spot: Spot, prefix: str) -> Node | None:
        first = self._members(position, spot, well_known.FAMILY, prefix)
        found = {family: self._members(position, spot, paths, prefix) for family, paths in well_known.ENDPOINTS.items()}
        known = {family: members for family, members in found.items() if members is not None}
        return None if first is None else Socket(first.nodes, known)

    def value(self, position: int, spot: Spot, *, depth: int = 0, nested: int = 0) -> Node | None:
        """The node for the value there, followed through `depth` pointers to structs; None if it can't be decoded."""
        types, ref = self.types, spot.ref
        if ref.stars:
            return self._pointer(position, spot, depth)
        array = types.array(ref)
        if array is not None:
            return self._array(position, spot, *array)
        if types.is_record(ref):
            return self._record(position, spot, depth, nested)
        scalar = types.scalar(ref)
        if scalar is None or scalar.size > 8:
            return None
        return self._number(position, spot, scalar)

    def _number(self, position: int, spot: Spot, scalar: layout.Scalar) -> Node | None:
        module, type_id = spot.declared
        name = spot.name if self.is_kernel else ""
        type_ = value_type(self.types.btf(module), type_id, name=name, gfp=self.gfp) if type_id else None
        if type_ is None:
            kind = "bool" if scalar.is_bool else "int" if scalar.is_signed else "unsigned"
            type_ = ValueType(kind, 8 * scalar.size)
        size = scalar.size
        if spot.bits:
            size = (spot.shift + spot.bits + 7) // 8
            if size > 8:
                return None
            kind = "enum" if type_.kind == "enum" else "int" if scalar.is_signed else "unsigned"
            type_ = ValueType(kind, spot.bits, type_.names)
        number = Number(type_, size, shift=spot.shift, bits=spot.bits)
        return self.planner.number(number, position, spot.offsets, limit=spot.limit)

    def _pointer(self, position: int, spot: Spot, depth: int) -> Node | None:
        types, target = self.types, spot.ref.target
        if types.is_function(target):
            return None
        is_last = len(spot.offsets) == MAX_OFFSETS
        if self._is_character(target) and not is_last:
            return self.planner.text(position, (*spot.offsets, 0))
        number = Number(ValueType("pointer"), 8)
        self.planner.number(number, position, spot.offsets, limit=spot.limit)
        if not target.stars and depth > 0 and not is_last and types.is_record(target):
            return Pointer(number, self.record(position, self.behind(spot), depth=depth))
        return Pointer(number, None)

    def _is_character(self, ref: Ref) -> bool:
        if ref.stars or not ref.type_id:
            return False
        btf = self.types.btf(ref.module)
        return btf.kind(ref.type_id) == fmt.INT and btf.name(ref.type_id) in CHARACTERS

    def _array(self, position: int, spot: Spot, element: Ref, n: int) -> Node | None:
        if self._is_character(element) and n:
            return self.planner.text(position, spot.offsets)
        scalar = self.types.scalar(element)
        if scalar is None or not 0 < n <= MAX_ITEMS:
            return None
        base = spot.offsets[-1]
        items = [
            self._number(
                position, Spot((*spot.offsets[:-1], base + at * scalar.size), element, limit=spot.limit), scalar
            )
            for at in range(n)
        ]
        return Items([item for item in items if item is not None])

    def _record(self, position: int, spot: Spot, depth: int, nested: int) -> Node | None:
        """A struct inside another one: its members, or the value of its only member."""
        name = self._record_name(spot)
        if name in ("in6_addr", "in_addr"):
            size = self.types.size(spot.ref)
            number = Number(ValueType("ipv6" if size == 16 else "ipv4", 8 * size), size)
            return self.planner.number(number, position, spot.offsets, limit=spot.limit)
        if (self.is_kernel and name in well_known.NOISE) or nested == MAX_NESTED:
            return None
        fields = list(layout.fields(self.types.btf(spot.ref.module), spot.ref.type_id))
        if len(fields) == 1:  # atomic_t, kuid_t, refcount_t
            return self.value(position, self._down(spot, fields[0]), depth=depth, nested=nested + 1)
        return self.record(position, spot, depth=depth + 1, nested=nested + 1)

    def _down(self, spot: Spot, field: layout.StructField) -> Spot:
        return self._at(spot, field, self.types.ref(spot.ref.module, field.type_id))

    def record(self, position: int, spot: Spot, *, depth: int, nested: int = 0) -> Node | None:
        """The members of a struct, followed through pointers for `depth` levels of structs, this one included."""
        known = None if nested else self.well_known(position, spot, is_whole=True)
        found = {} if known is None or not isinstance(known, Members) else dict(known.nodes)
        shown: list[tuple[str, Node]] = list(found.items())
        for field in self._fields(spot):
            if len(shown) == MAX_MEMBERS:
                break
            try:
                node = self.value(position, self._down(spot, field), depth=depth - 1, nested=nested)
            except MultiprobeError:
                continue
            if node is not None:
                shown.append((field.name, node))
        if not shown:
            return None
        return Socket(shown, known.by_family) if isinstance(known, Socket) else Members(shown)

    def _fields(self, spot: Spot) -> Iterator[layout.StructField]:
        """The members at distinct offsets; of an unnamed union, the first member."""
        end, btf = -1, self.types.btf(spot.ref.module)
        for field in layout.fields(btf, spot.ref.type_id):
            if field.bit_offset >= end or field.bits:
                yield field
                end = max(end, field.bit_offset + (field.bits or 8 * btf.size(field.type_id)))

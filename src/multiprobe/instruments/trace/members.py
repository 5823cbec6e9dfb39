"""Which members of the structs behind arguments are shown: the well-known ones, whole structs, or chosen ones.

Knows BTF, through the compiler's view of it, and the rule of `--depth`; what reading them takes is the business of
`trace_plan`.
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
)
from multiprobe.kernel.btf import format as fmt
from multiprobe.kernel.btf import layout
from multiprobe.kernel.btf.values import ValueType, value_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from multiprobe.compiler.frontend.typed import KernelTypes, Ref
    from multiprobe.instruments.trace.well_known import Paths

MAX_MEMBERS = 24
"""So many members of a struct are shown."""
MAX_NESTED = 4
MAX_ITEMS = 8
WORDS = {"char", "unsigned char", "signed char"}


@dataclass(frozen=True, slots=True)
class Spot:
    """A place behind an argument: what lies there is of type `ref`, `declared` under a (module, type id) with typedefs.

    `limit`: where the struct that the last pointer led to ends
    """

    offsets: tuple[int, ...]
    ref: Ref
    declared: tuple[str, int] = ("", 0)
    name: str = ""
    shift: int = 0
    bits: int = 0
    limit: int = 0


class Behind:
    """Finds nodes for what is behind arguments; one for each function, since a `planner` gathers its steps."""

    def __init__(self, types: KernelTypes, planner: Planner, *, gfp: Mapping[int, str] = {}) -> None:
        self.types = types
        self.planner = planner
        self.gfp = gfp

    # Ways

    def argument(self, ref: Ref) -> Spot | None:
        """Where an argument of this type points to; None if it is no pointer to anything."""
        if ref.stars < 1 or (ref.stars == 1 and not ref.type_id):
            return None
        target = ref.target
        return Spot((0,), target, limit=self.types.size(target))

    def member(self, spot: Spot, name: str) -> Spot:
        """A member of a struct there, or of the one that a pointer there leads to. UsageError if there is none."""
        if spot.ref.stars:
            spot = self.behind(spot)
        if not self.types.is_record(spot.ref):
            raise UsageError(f"{self.types.spell(spot.ref)} has no members, and no {name!r}")
        field, ref = self.types.field(spot.ref, name)
        return self._at(spot, field, ref)

    def _at(self, spot: Spot, field: layout.StructField, ref: Ref) -> Spot:
        offset = spot.offsets[-1] + field.offset
        if offset > MAX_OFFSET:
            raise UsageError(f"{field.name} lies {offset} bytes from where its struct begins, too far for a trace")
        shift = field.bit_offset % 8 if field.bits else 0
        declared = (spot.ref.module, field.type_id)
        return Spot((*spot.offsets[:-1], offset), ref, declared, field.name, shift, field.bits, spot.limit)

    def behind(self, spot: Spot) -> Spot:
        """Where a pointer there leads to."""
        if len(spot.offsets) == MAX_OFFSETS:
            raise UsageError(
                f"{spot.name} is behind {MAX_OFFSETS} pointers, more than a trace follows",
                hint="a program of one's own can: see docs/language.md",
            )
        target = spot.ref.target
        return Spot((*spot.offsets, 0), target, name=spot.name, limit=self.types.size(target))

    def follow(self, spot: Spot, path: str) -> Spot:
        """The member at the end of `a.b.c`. UsageError names what comes close to a wrong name."""
        for name in path.split("."):
            spot = self.member(spot, name)
        return spot

    # Nodes

    def well_known(self, place: int, spot: Spot, *, is_whole: bool = False) -> Node | None:
        """The members that say what a struct is; None for structs that aren't well known.

        With `is_whole`, all of its own members are shown anyhow, and only those farther away are given.
        """
        name = self._record_name(spot)
        self.planner.is_first = True
        try:
            if name in well_known.SOCKETS:
                return self._socket(place, spot, well_known.SOCKETS[name])
            paths = well_known.MEMBERS.get(name, ())
            return self._members(place, spot, tuple(path for path in paths if not is_whole or "." in path[1]))
        finally:
            self.planner.is_first = False

    def _record_name(self, spot: Spot) -> str:
        is_record = self.types.is_record(spot.ref)
        return self.types.btf(spot.ref.module).name(spot.ref.type_id) if is_record else ""

    def _members(self, place: int, spot: Spot, paths: Paths, prefix: str = "") -> Members | None:
        found: dict[str, Node] = {}
        for label, path in paths:
            try:
                node = self.value(place, self.follow(spot, prefix + path))
            except MultiprobeError:
                continue
            if node is not None:
                found.setdefault(label, node)
        return Members(tuple(found.items())) if found else None

    def _socket(self, place: int, spot: Spot, prefix: str) -> Node | None:
        first = self._members(place, spot, well_known.FAMILY, prefix)
        found = {family: self._members(place, spot, paths, prefix) for family, paths in well_known.ENDPOINTS.items()}
        known = {family: members for family, members in found.items() if members is not None}
        return None if first is None else Socket(first.nodes, known)

    def value(self, place: int, spot: Spot, *, depth: int = 0, nested: int = 0) -> Node | None:
        """What lies there, followed through `depth` pointers to structs; None for what can't be shown."""
        types, ref = self.types, spot.ref
        if ref.stars:
            return self._pointer(place, spot, depth)
        array = types.array(ref)
        if array is not None:
            return self._array(place, spot, *array)
        if types.is_record(ref):
            return self._record(place, spot, depth, nested)
        scalar = types.scalar(ref)
        if scalar is None or scalar.size > 8:
            return None
        return self._number(place, spot, scalar)

    def _number(self, place: int, spot: Spot, scalar: layout.Scalar) -> Node | None:
        module, type_id = spot.declared
        type_ = value_type(self.types.btf(module), type_id, name=spot.name, gfp=self.gfp) if type_id else None
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
        return self.planner.number(number, place, spot.offsets, limit=spot.limit)

    def _pointer(self, place: int, spot: Spot, depth: int) -> Node | None:
        types, target = self.types, spot.ref.target
        if types.is_function(target):
            return None
        is_last = len(spot.offsets) == MAX_OFFSETS
        if self._is_character(target) and not is_last:
            return self.planner.text(place, (*spot.offsets, 0))
        number = Number(ValueType("pointer"), 8)
        self.planner.number(number, place, spot.offsets, limit=spot.limit)
        if not target.stars and depth > 0 and not is_last and types.is_record(target):
            return Pointer(number, self.record(place, self.behind(spot), depth=depth))
        return Pointer(number, None)

    def _is_character(self, ref: Ref) -> bool:
        if ref.stars or not ref.type_id:
            return False
        btf = self.types.btf(ref.module)
        return btf.kind(ref.type_id) == fmt.INT and btf.name(ref.type_id) in WORDS

    def _array(self, place: int, spot: Spot, element: Ref, n: int) -> Node | None:
        if self._is_character(element) and n:
            return self.planner.text(place, spot.offsets)
        scalar = self.types.scalar(element)
        if scalar is None or not 0 < n <= MAX_ITEMS:
            return None
        base = spot.offsets[-1]
        items = [
            self._number(place, Spot((*spot.offsets[:-1], base + at * scalar.size), element, limit=spot.limit), scalar)
            for at in range(n)
        ]
        return Items([item for item in items if item is not None])

    def _record(self, place: int, spot: Spot, depth: int, nested: int) -> Node | None:
        """A struct inside of another one: its members, or its only one."""
        name = self._record_name(spot)
        if name in ("in6_addr", "in_addr"):
            size = self.types.size(spot.ref)
            number = Number(ValueType("ipv6" if size == 16 else "ipv4", 8 * size), size)
            return self.planner.number(number, place, spot.offsets, limit=spot.limit)
        if name in well_known.NOISE or nested == MAX_NESTED:
            return None
        fields = list(layout.fields(self.types.btf(spot.ref.module), spot.ref.type_id))
        if len(fields) == 1:  # atomic_t, kuid_t, refcount_t
            return self.value(place, self._down(spot, fields[0]), depth=depth, nested=nested + 1)
        return self.record(place, spot, depth=depth + 1, nested=nested + 1)

    def _down(self, spot: Spot, field: layout.StructField) -> Spot:
        return self._at(spot, field, self.types.ref(spot.ref.module, field.type_id))

    def record(self, place: int, spot: Spot, *, depth: int, nested: int = 0) -> Node | None:
        """The members of a struct, `depth` levels of structs behind pointers, this one counted."""
        known = None if nested else self.well_known(place, spot, is_whole=True)
        found = {} if known is None or not isinstance(known, Members) else dict(known.nodes)
        shown: list[tuple[str, Node]] = list(found.items())
        for field in self._fields(spot):
            if len(shown) == MAX_MEMBERS:
                break
            try:
                node = self.value(place, self._down(spot, field), depth=depth - 1, nested=nested)
            except MultiprobeError:
                continue
            if node is not None:
                shown.append((field.name, node))
        if not shown:
            return None
        return Socket(shown, known.by_family) if isinstance(known, Socket) else Members(shown)

    def _fields(self, spot: Spot) -> Iterator[layout.StructField]:
        """The members, one for each place: of an unnamed union's the first."""
        end, btf = -1, self.types.btf(spot.ref.module)
        for field in layout.fields(btf, spot.ref.type_id):
            if field.bit_offset >= end or field.bits:
                yield field
                end = max(end, field.bit_offset + (field.bits or 8 * btf.size(field.type_id)))

"""The layout of a kernel struct for Python: sizes, offsets, and a NumPy dtype to decode bytes with.

Knows BTF and NumPy's words for it; must not know programs. Imported only when somebody asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from multiprobe.compiler.frontend.typed import KernelTypes, Ref
from multiprobe.errors import UsageError
from multiprobe.functions.kernel import Kernel
from multiprobe.kernel.btf import layout

if TYPE_CHECKING:
    import numpy as np

    from multiprobe.kernel.btf.types import Btf


class HasTypes(Protocol):
    """What has types of its own: an `mp.Binary`."""

    def find_type(self, word: str, name: str) -> tuple[Btf, int]:
        """The type `name`, a "struct", "union" or "enum": its id, and the types among which it is."""
        ...


class NamedType(Protocol):
    """What names a type: an `mp.Struct` or `mp.Enum`."""

    name: str
    word: str
    kernel: Kernel | None
    binary: HasTypes | None


class Member(NamedTuple):
    """A member: `type` as C spells it, `offset` and `size` in bytes. Of a bit field, `bits` is its width (else 0) and
    `bit_offset` where it begins, in bits from the start of the struct."""

    name: str
    type: str
    offset: int
    size: int
    bit_offset: int
    bits: int


@dataclass(frozen=True, slots=True)
class Record:
    """A struct or union of one kernel."""

    name: str
    size: int
    members: tuple[Member, ...]
    types: KernelTypes
    ref: Ref

    def offset(self, path: str) -> int:
        """Where a member begins, in bytes; `path` may go on into members ("a.b")."""
        found, _, _ = locate(self.types, self.ref, path)
        return found // 8

    def dtype(self) -> np.dtype[np.void]:
        """See `Struct.dtype`."""
        return _record_dtype(self.types, self.ref)


def locate(types: KernelTypes, ref: Ref, path: str) -> tuple[int, int, Ref]:
    """Where in a struct a member is ("a.b"): the offset in bits, the width if it is a bit field, and its type."""
    bit_offset, bits = 0, 0
    for name in path.split("."):
        if not types.is_record(ref):
            raise UsageError(f"a {types.spell(ref)} has no members, and no {name!r}")
        field, ref = types.field(ref, name)
        bit_offset, bits = bit_offset + field.bit_offset, field.bits
    return bit_offset, bits, ref


def named(types: KernelTypes, spec: NamedType) -> Ref:
    """The type that a spec names: the kernel's, or that of its binary, which is added to `types`."""
    if spec.binary is None:
        return types.named(spec.word, spec.name)
    btf, type_id = spec.binary.find_type(spec.word, spec.name)
    return types.ref(types.add_program(btf), type_id)


def read_record(spec: NamedType) -> Record:
    """The layout of a struct or union of a binary or a kernel (the running one, if none is given)."""
    types = _types(spec)
    ref = named(types, spec)
    btf = types.btf(ref.module)
    members = tuple(
        Member(
            field.name,
            btf.type_name(field.type_id),
            field.offset,
            btf.size(field.type_id),
            field.bit_offset,
            field.bits,
        )
        for field in layout.fields(btf, ref.type_id)
    )
    return Record(spec.name, types.size(ref), members, types, ref)


def read_enum(spec: NamedType) -> dict[str, int]:
    """The names and numbers of an enum, of a binary or a kernel as in `read_record`."""
    types = _types(spec)
    return types.enumerators(named(types, spec))


def _types(spec: NamedType) -> KernelTypes:
    return KernelTypes.of(Kernel() if spec.kernel is None else spec.kernel)


def _record_dtype(types: KernelTypes, ref: Ref) -> np.dtype[np.void]:
    import numpy as np

    names, formats, offsets = [], [], []
    for field in layout.fields(types.btf(ref.module), ref.type_id):
        form = None if field.bits else _format(types, types.ref(ref.module, field.type_id))
        if form is not None:
            names.append(field.name)
            formats.append(form)
            offsets.append(field.offset)
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": types.size(ref)})


def _format(types: KernelTypes, ref: Ref) -> Any:
    """NumPy's form of a type; None for what takes no room."""
    if ref.stars:
        return "<u8"
    array = types.array(ref)
    if array is not None:
        element = _format(types, array[0])
        return None if element is None or not array[1] else (element, (array[1],))
    if types.is_record(ref):
        return _record_dtype(types, ref)
    found = types.scalar(ref)
    size = types.size(ref)
    if found is not None and size <= 8:
        return "?" if found.is_bool else f"<{'i' if found.is_signed else 'u'}{size}"
    return f"V{size}" if size else None

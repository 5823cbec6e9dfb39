"""The type records of one BTF object, in NumPy columns: kinds, names, references, sizes, members.

A module's records continue those of its base. Parsing is pure. What C spelling and functions add is in `types`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from multiprobe.errors import DataError
from multiprobe.kernel.btf import columns as records
from multiprobe.kernel.btf import format as fmt
from multiprobe.kernel.btf.spelling import integer_name
from multiprobe.names import encode_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from multiprobe.kernel.btf.columns import Flags, Ids

Item = TypeVar("Item", bound=np.generic)

POINTER_SIZE = 8
SIZED = (fmt.INT, fmt.STRUCT, fmt.UNION, fmt.ENUM, fmt.ENUM64, fmt.FLOAT)


@dataclass(frozen=True, slots=True)
class BtfMember:
    """A member of a struct or union. `bits` is 0 unless it is a bit field; an unnamed struct has the name ""."""

    name: str
    type_id: int
    bit_offset: int
    bits: int


@dataclass(frozen=True, slots=True)
class BtfParam:
    """A parameter of a function; type id 0 in the last place is the `…` of a variadic function."""

    name: str
    type_id: int


@dataclass(frozen=True, slots=True)
class BtfVariable:
    """A variable: its type, and where it is in its section."""

    name: str
    type_id: int
    offset: int
    size: int


class TypeRecords:
    """The types of one BTF object: vmlinux, or a module on top of its `base`. Type id 0 is void.

    Ids count through: a module's own types follow its base's, from `first_id` on. A question about an id beyond the
    last one raises `DataError`, as does anything that a broken file would answer.

    The columns `kinds`, `lengths`, `flags`, `targets` (what a type refers to, or its size), `starts` and `name_offsets`
    hold one row for each own type; the base's begin with a row for void, so that there an id is its row.
    """

    base: Self | None

    def __init__(self, sections: fmt.Sections, base: Self | None) -> None:
        self.base = base
        self.words = words = records.words_of(sections)
        self.strings = sections.strings
        self._type_start = sections.type_start
        self._string_base: int = base.string_end if base else 0
        self.string_end: int = self._string_base + len(sections.strings)
        self.first_id: int = base.n_types if base else 0
        found = records.find_records(sections)
        self.starts = found if base else np.concatenate((np.zeros(1, dtype=np.int64), found))
        self.n_types: int = self.first_id + len(self.starts)
        if self.n_types > fmt.MAX_TYPE + 1:
            raise DataError(f"BTF holds {self.n_types} types, more than the format allows ({fmt.MAX_TYPE})")
        columns = np.zeros((fmt.RECORD_WORDS, len(self.starts)), dtype=np.uint32)
        for place, column in enumerate(columns):
            column[len(self.starts) - len(found) :] = words[found + place]
        self.kinds = records.kinds_of(columns[1])
        self.lengths = records.lengths_of(columns[1])
        self.flags = (columns[1] >> np.uint32(31)).astype(np.bool_)
        self.name_offsets = columns[0].astype(np.int64)
        self.targets = columns[2].astype(np.int64)
        rows = np.arange(len(self.starts))
        self.complain(rows, self.name_offsets >= max(self.string_end, 1), "its name lies beyond the string section")
        is_reference = records.is_kind(self.kinds, fmt.REFERENCES)
        self.complain(rows, is_reference & (self.targets >= self.n_types), "it refers to a type beyond the last one")

    def __len__(self) -> int:
        """The number of types, the base's and void included."""
        return self.n_types

    # Columns, made when asked for

    @cached_property
    def bare(self) -> Ids:
        """For each own type, the id of the type without typedefs, qualifiers and tags."""
        bare = np.arange(self.first_id, self.n_types, dtype=np.int64)
        active = np.flatnonzero(records.is_kind(self.kinds, fmt.MODIFIERS))
        for _ in range(fmt.MAX_DEPTH):
            if not len(active):
                return bare
            bare[active] = self.gather(lambda b: b.targets, bare[active])
            active = active[records.is_kind(self.gather(lambda b: b.kinds, bare[active]), fmt.MODIFIERS)]
        everywhere = np.ones(len(active), dtype=np.bool_)
        self.complain(active, everywhere, f"more than {fmt.MAX_DEPTH} typedefs and qualifiers, or a circle")
        raise AssertionError  # pragma: no cover

    @cached_property
    def bare_kinds(self) -> NDArray[np.uint8]:
        """For each own type, the kind of the bare type."""
        return self.gather(lambda b: b.kinds, self.bare)

    @cached_property
    def value_sizes(self) -> Ids:
        """For each own type, the size of a value in bytes: 0 for void, functions, arrays and mere declarations."""
        sizes = self.gather(lambda b: b.targets, self.bare)
        sizes[~records.is_kind(self.bare_kinds, SIZED)] = 0
        sizes[self.bare_kinds == fmt.PTR] = POINTER_SIZE
        return sizes

    @cached_property
    def is_signed(self) -> Flags:
        """For each own type: is it an integer or enum with a sign?"""
        found: Flags = records.is_kind(self.kinds, (fmt.ENUM, fmt.ENUM64)) & self.flags
        for row in np.flatnonzero(self.kinds == fmt.INT).tolist():
            name = integer_name(self.string(int(self.name_offsets[row])))
            found[row] = bool(self.int_word(row) >> 24 & 1) or name == "signed char"
        return found

    @cached_property
    def references(self) -> Ids:
        """For each own type, the id that it refers to; 0 for types that refer to none."""
        return np.where(records.is_kind(self.kinds, fmt.REFERENCES), self.targets, 0)

    def parts(self) -> list[Self]:
        """The base, if there is one, and this object."""
        return [*self.base.parts(), self] if self.base else [self]

    def integer_ids(self) -> list[int]:
        """The ids of all integer types."""
        found = [np.flatnonzero(part.kinds == fmt.INT) + part.first_id for part in self.parts()]
        return [int(type_id) for type_id in np.concatenate(found)]

    def gather(self, column: Callable[[Self], NDArray[Item]], ids: Ids) -> NDArray[Item]:
        """The column's value for each id, from this object or its base."""
        return self.pick([column(part) for part in self.parts()], ids)

    def pick(self, columns: Sequence[NDArray[Item]], ids: Ids) -> NDArray[Item]:
        """The value for each id, from a column of each of `parts`."""
        picked = np.zeros(len(ids), dtype=columns[-1].dtype)
        for part, column in zip(self.parts(), columns, strict=True):
            is_own = (ids >= part.first_id) & (ids < part.n_types)
            picked[is_own] = column[ids[is_own] - part.first_id]
        return picked

    def complain(self, rows: Ids, is_bad: Flags, problem: str) -> None:
        """Raise `DataError` for the first of the own types `rows` that is bad."""
        bad = rows[is_bad]
        if len(bad):
            byte = self._type_start + 4 * int(self.starts[bad[0]])
            raise DataError(f"BTF at byte {byte}, type {self.first_id + int(bad[0])}: {problem}")

    def joined_names(self, rows: Ids) -> tuple[bytes, NDArray[np.uint32]]:
        """The names of some own types, each followed by a newline; and their offsets (n + 1)."""
        wanted = self.name_offsets[rows]
        if self.base is None and self.strings:
            text = np.frombuffer(self.strings, dtype=np.uint8)
            nuls = np.flatnonzero(text == 0)
            lengths = nuls[np.searchsorted(nuls, wanted)] - wanted + 1
            joined = text[records.spread(wanted, lengths, 1)].tobytes().replace(b"\0", b"\n")
        else:
            names = [self._bytes_at(offset) for offset in wanted.tolist()]
            lengths = np.array([len(name) + 1 for name in names], dtype=np.int64)
            joined = b"".join(name + b"\n" for name in names)
        if joined.count(b"\n") != len(rows):
            raise DataError("BTF: a name with a newline in it")
        offsets = np.zeros(len(rows) + 1, dtype=np.uint32)
        np.cumsum(lengths, out=offsets[1:])
        return joined, offsets

    # One type

    def kind(self, type_id: int) -> int:
        """The kind of a type: a constant of `format`; 0 is void."""
        owner, row = self.owner(type_id)
        return int(owner.kinds[row])

    def name(self, type_id: int) -> str:
        """The bare name of a type: `sock` for `struct sock`, "" for what has none."""
        owner, row = self.owner(type_id)
        return owner.string(int(owner.name_offsets[row]))

    def target(self, type_id: int) -> int:
        """The id of what a pointer, typedef, qualifier, function or variable refers to; a prototype's return type."""
        owner, row = self.owner(type_id)
        return int(owner.targets[row])

    def strip(self, type_id: int) -> int:
        """The id of a type without typedefs, qualifiers and tags."""
        owner, row = self.owner(type_id)
        return int(owner.bare[row])

    def size(self, type_id: int) -> int:
        """The size of a type in bytes; 0 for what has none."""
        count = 1
        for _ in range(fmt.MAX_DEPTH):
            type_id = self.strip(type_id)
            if self.kind(type_id) != fmt.ARRAY:
                owner, row = self.owner(type_id)
                return count * int(owner.value_sizes[row])
            type_id, length = self.array(type_id)
            count *= length
        raise DataError(f"BTF type {type_id}: an array of arrays without end")

    def array(self, type_id: int) -> tuple[int, int]:
        """The element type and the length of an array."""
        element, _index, count = self._extra(self.strip(type_id), (fmt.ARRAY,), fixed=3)
        return element, count

    def members(self, type_id: int) -> list[BtfMember]:
        """The members of a struct or union, in order."""
        owner, row = self.owner(self.strip(type_id))
        has_bits = bool(owner.flags[row])
        extra = self._extra(self.strip(type_id), (fmt.STRUCT, fmt.UNION), per_element=3)
        members = []
        for name, member_type, offset in zip(extra[0::3], extra[1::3], extra[2::3], strict=True):
            bits, offset = (offset >> 24, offset & 0xFFFFFF) if has_bits else (0, offset)
            members.append(BtfMember(owner.string(name), member_type, offset, bits))
        return members

    def variables(self, type_id: int) -> list[BtfVariable]:
        """The variables of a section of variables (DATASEC), in order."""
        extra = self._extra(type_id, (fmt.DATASEC,), per_element=3)
        return [
            BtfVariable(self.name(variable), self.target(variable), offset, size)
            for variable, offset, size in zip(extra[0::3], extra[1::3], extra[2::3], strict=True)
        ]

    def enumerators(self, type_id: int) -> dict[str, int]:
        """The names and values of an enum."""
        bare = self.strip(type_id)
        owner, row = self.owner(bare)
        width = 3 if owner.kinds[row] == fmt.ENUM64 else 2
        extra = self._extra(bare, (fmt.ENUM, fmt.ENUM64), per_element=width)
        bits = 32 * (width - 1)
        values = {}
        for at in range(0, len(extra), width):
            number = extra[at + 1] | (extra[at + 2] << 32 if width == 3 else 0)
            is_negative = owner.flags[row] and number >> (bits - 1)
            values[owner.string(extra[at])] = number - (1 << bits) if is_negative else number
        return values

    def parameters(self, type_id: int) -> list[BtfParam]:
        """The parameters of a function or prototype."""
        if self.kind(type_id) == fmt.FUNC:
            type_id = self.target(type_id)
        owner, _ = self.owner(type_id)
        extra = self._extra(type_id, (fmt.FUNC_PROTO,), per_element=2)
        return [BtfParam(owner.string(name), of_type) for name, of_type in zip(extra[0::2], extra[1::2], strict=True)]

    def type_ids(self, name: str, *kinds: int) -> list[int]:
        """The ids of all types with this bare name, of these kinds (any, if none is given), the base's first."""
        found = self.base.type_ids(name, *kinds) if self.base else []
        is_named = np.isin(self.name_offsets, self._string_offsets(encode_name(name))) & (self.kinds != fmt.VOID)
        if kinds:
            is_named &= records.is_kind(self.kinds, kinds)
        return found + (np.flatnonzero(is_named) + self.first_id).tolist()

    def string(self, offset: int) -> str:
        """The string at an offset of the string section, the base's included."""
        return self._bytes_at(offset).decode("ascii", "backslashreplace")

    def _bytes_at(self, offset: int) -> bytes:
        if self.base is not None and offset < self._string_base:
            return self.base._bytes_at(offset)
        start = offset - self._string_base
        if start >= len(self.strings):
            if offset == 0:
                return b""
            raise DataError(f"BTF: a name at {offset}, beyond the {self.string_end} bytes of strings")
        return self.strings[start : self.strings.index(b"\0", start)]

    def _string_offsets(self, name: bytes) -> list[int]:
        """Every offset, the base's included, at which a string equal to `name` can be read."""
        found = self.base._string_offsets(name) if self.base else []
        wanted = name + b"\0"
        at = self.strings.find(wanted) if name else -1
        while at >= 0:
            found.append(self._string_base + at)
            at = self.strings.find(wanted, at + 1)
        return found

    def int_word(self, row: int) -> int:
        """The word that describes an integer type of this object: encoding << 24 | bit offset << 16 | bits."""
        return int(self.words[int(self.starts[row]) + fmt.RECORD_WORDS])

    def owner(self, type_id: int) -> tuple[Self, int]:
        """The object that holds a type, and the row there."""
        if not 0 <= type_id < self.n_types:
            raise DataError(f"BTF has no type {type_id}: its last one is {self.n_types - 1}")
        if type_id < self.first_id and self.base is not None:
            return self.base.owner(type_id)
        return self, type_id - self.first_id

    def _extra(self, type_id: int, kinds: tuple[int, ...], *, fixed: int = 0, per_element: int = 0) -> list[int]:
        """The words that follow a record of one of these kinds."""
        owner, row = self.owner(type_id)
        if int(owner.kinds[row]) not in kinds:
            wanted = " or ".join(fmt.KIND_NAMES[kind] for kind in kinds)
            raise DataError(f"BTF type {type_id} is no {wanted}")
        start = int(owner.starts[row]) + fmt.RECORD_WORDS
        words: list[int] = owner.words[start : start + fixed + per_element * int(owner.lengths[row])].tolist()
        return words

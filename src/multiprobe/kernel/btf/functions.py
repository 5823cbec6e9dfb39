"""The functions that BTF describes, as columns: parameters, their sizes, and what they return.

Which functions may be probed is decided by `functions.verdict`. `Btf` caches the columns.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from multiprobe.kernel.btf import columns as records
from multiprobe.kernel.btf import format as fmt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multiprobe.kernel.btf.columns import Flags, Ids
    from multiprobe.kernel.btf.records import TypeRecords

SLOT_SIZE = 8

Item = TypeVar("Item", bound=np.generic)


@dataclass(frozen=True, slots=True, eq=False)
class Prototypes:
    """What each prototype takes and returns: columns with a row for every own type of an object, 0 for other types.

    n_params: uint16, the `…` of a variadic function not counted
    n_slots: uint16, 8-byte argument slots, as bpf_get_func_arg counts them on x86-64 (a 16-byte struct takes two)
    is_variadic: the last parameter is `…`
    has_big_struct_arg: a parameter by value of more than 16 bytes
    has_void_arg: a parameter without a size: void, a function, an array, a type only declared
    return_size: uint32, in bytes; 0 is void
    has_struct_return: a struct or union by value
    returns_in_memory: the first argument register holds the address of the result (a struct of more than 16 bytes)
    returns: uint8, what the register that returns a value holds: the flags of `format.RETURNS_BITS`
    """

    n_params: NDArray[np.uint16]
    n_slots: NDArray[np.uint16]
    is_variadic: Flags
    has_big_struct_arg: Flags
    has_void_arg: Flags
    return_size: NDArray[np.uint32]
    has_struct_return: Flags
    returns_in_memory: Flags
    returns: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Functions(Prototypes):
    """Every function (BTF_KIND_FUNC) of one BTF object, in the order of its type ids, with its prototype's columns.

    type_ids: uint32; what tracing_multi and fentry take
    prototypes: int64, the type ids of their prototypes
    names: all names, each followed by a newline; name i is `names[name_offsets[i] : name_offsets[i + 1] - 1]`
    name_offsets: uint32, one more than functions
    is_ambiguous: another function has the same name and a different prototype, so that the name tells no type
    """

    type_ids: NDArray[np.uint32]
    prototypes: Ids
    names: bytes
    name_offsets: NDArray[np.uint32]
    is_ambiguous: Flags

    def __len__(self) -> int:
        return len(self.type_ids)

    def name(self, row: int) -> str:
        """The name of one function."""
        return self.names[self.name_offsets[row] : self.name_offsets[row + 1] - 1].decode("ascii", "backslashreplace")


@dataclass(frozen=True, slots=True, eq=False)
class Params:
    """All prototypes' parameters, flat: those of the prototype `rows[i]` are `types[firsts[i] : firsts[i + 1]]`."""

    rows: Ids
    firsts: Ids
    types: Ids


def function_columns(btf: TypeRecords, prototypes: Sequence[Prototypes]) -> Functions:
    """The functions of one object (not of its base), from the prototypes of each of its `parts`."""
    rows = np.flatnonzero(btf.kinds == fmt.FUNC)
    ids = btf.targets[rows]
    btf.complain(rows, btf.gather(lambda b: b.kinds, ids) != fmt.FUNC_PROTO, "it has no prototype")
    names, offsets = btf.joined_names(rows)

    taken = {
        column.name: btf.pick([getattr(part, column.name) for part in prototypes], ids) for column in fields(Prototypes)
    }
    return Functions(
        **taken,
        type_ids=(rows + btf.first_id).astype(np.uint32),
        prototypes=ids,
        names=names,
        name_offsets=offsets,
        is_ambiguous=_ambiguous(btf, names, ids),
    )


def _ambiguous(btf: TypeRecords, names: bytes, prototypes: Ids) -> Flags:
    """For each function: does a namesake take or return other types?

    Static functions of several source files may have one name. pahole leaves out those whose prototypes differ, but not
    in its versions before 1.25, nor in every kernel's build.
    """
    found = np.zeros(len(prototypes), dtype=np.bool_)
    rows_by_name: dict[bytes, list[int]] = {}
    for row, name in enumerate(names[:-1].split(b"\n") if names else ()):
        rows_by_name.setdefault(name, []).append(row)
    for rows in rows_by_name.values():
        if len(rows) > 1:
            found[rows] = len({_types_of(btf, int(prototypes[row])) for row in rows}) > 1
    return found


def _types_of(btf: TypeRecords, prototype: int) -> tuple[int, ...]:
    """The types that a prototype returns and takes. The parameters' names may differ between alike functions."""
    return btf.target(prototype), *(param.type_id for param in btf.parameters(prototype))


def param_columns(btf: TypeRecords) -> Params:
    """The parameters of all own prototypes."""
    rows = np.flatnonzero(btf.kinds == fmt.FUNC_PROTO)
    counts = btf.lengths[rows]
    firsts = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(counts)))
    types = btf.words[records.spread(btf.starts[rows] + fmt.RECORD_WORDS + 1, counts, 2)].astype(np.int64)
    btf.complain(np.repeat(rows, counts), types >= btf.n_types, "a parameter's type lies beyond the last type")
    return Params(rows, firsts, types)


def prototype_columns(btf: TypeRecords, params: Params) -> Prototypes:
    """What the own prototypes say, from their parameters."""
    firsts = params.firsts
    counts = np.diff(firsts)
    sizes = btf.gather(lambda b: b.value_sizes, params.types)
    lasts = firsts[1:][counts > 0] - 1
    is_ellipsis = np.zeros(len(params.types), dtype=np.bool_)
    is_ellipsis[lasts] = params.types[lasts] == 0
    returned = btf.targets[params.rows]
    return_sizes = btf.gather(lambda b: b.value_sizes, returned)
    is_struct = records.is_kind(btf.gather(lambda b: b.bare_kinds, returned), (fmt.STRUCT, fmt.UNION))

    def per_type(values: NDArray[np.generic], dtype: type[Item]) -> NDArray[Item]:
        column = np.zeros(len(btf.kinds), dtype=dtype)
        column[params.rows] = values
        return column

    return Prototypes(
        n_params=per_type(counts - sums(is_ellipsis, firsts), np.uint16),
        n_slots=per_type(sums((sizes + SLOT_SIZE - 1) // SLOT_SIZE, firsts), np.uint16),
        is_variadic=per_type(sums(is_ellipsis, firsts), np.bool_),
        has_big_struct_arg=per_type(sums(sizes > fmt.BIG_STRUCT, firsts), np.bool_),
        has_void_arg=per_type(sums((sizes == 0) & ~is_ellipsis, firsts), np.bool_),
        return_size=per_type(return_sizes, np.uint32),
        has_struct_return=per_type(is_struct, np.bool_),
        returns_in_memory=per_type(is_struct & (return_sizes > fmt.BIG_STRUCT), np.bool_),
        returns=per_type(_returns(btf, returned), np.uint8),
    )


def _returns(btf: TypeRecords, returned: Ids) -> NDArray[np.uint8]:
    """How each of the types `returned` lies in a register of 64 bits (`Functions.returns`)."""
    sizes = btf.gather(lambda b: b.value_sizes, returned)
    bare = btf.gather(lambda b: b.bare, returned)
    codes = np.where(sizes < SLOT_SIZE, 8 * (SLOT_SIZE - np.maximum(sizes, 1)), 0).astype(np.uint8)
    codes[btf.gather(lambda b: b.is_signed, bare)] |= fmt.RETURNS_SIGNED
    codes[sizes > SLOT_SIZE] = fmt.RETURNS_UNKNOWN
    codes[bare == 0] = fmt.RETURNS_NOTHING
    return codes


def prototypes_taking(btf: TypeRecords, params: Params, matches: Flags, position: int | None) -> Flags:
    """For each own type: is it a prototype with a parameter (at `position`) whose type is one of `matches`?

    `matches` says it for every type id, the base's included.
    """
    hits = matches[params.types]
    hits[params.types == 0] = False
    if position is not None:
        hits &= np.arange(len(hits)) - np.repeat(params.firsts[:-1], np.diff(params.firsts)) == position
    found = np.zeros(len(btf.kinds), dtype=np.bool_)
    found[params.rows] = sums(hits, params.firsts)
    return found


def sums(values: NDArray[np.generic], firsts: Ids) -> Ids:
    """The sum of `values[firsts[i] : firsts[i + 1]]` for each i."""
    running = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum(values, out=running[1:])
    return running[firsts[1:]] - running[firsts[:-1]]

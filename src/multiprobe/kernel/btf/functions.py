"""The functions that BTF describes, and what their prototypes say, as columns.

Knows prototypes, parameters and their sizes; must not know which functions may be probed. Works on a `Btf` and keeps
nothing of its own: `Btf` caches what is made here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from multiprobe.kernel.btf import columns as records
from multiprobe.kernel.btf import format as fmt
from multiprobe.kernel.btf.layout import BIG_STRUCT

if TYPE_CHECKING:
    from multiprobe.kernel.btf.columns import Ids
    from multiprobe.kernel.btf.types import Btf

SLOT_SIZE = 8

Item = TypeVar("Item", bound=np.generic)

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Functions:
    """Every function (BTF_KIND_FUNC) of one BTF object, in the order of its type ids, in columns of the same length n.

    type_ids: uint32; what tracing_multi and fentry take
    prototypes: int64, the type ids of their prototypes
    names: all names, each followed by a newline; name i is `names[name_offsets[i] : name_offsets[i + 1] - 1]`
    name_offsets: uint32, n + 1 of them
    n_params: uint16, the `…` of a variadic function not counted
    n_slots: uint16, 8-byte argument slots, as bpf_get_func_arg counts them on x86-64 (a 16-byte struct takes two)
    is_variadic: the last parameter is `…`
    has_big_struct_arg: a parameter by value of more than 16 bytes
    has_union_arg: a union by value (which kernels refused for long)
    has_void_arg: a parameter without a size: void, a function, an array, a type only declared
    return_size: uint32, in bytes; 0 is void
    has_struct_return: a struct or union by value
    returns: uint8, what the register that returns a value holds: the flags of `format.RETURNS_BITS`
    returns_in_memory: the first argument register holds the address of the result (a struct of more than 16 bytes)
    is_ambiguous: another function has the same name and a different prototype, so that the name tells no type
    """

    type_ids: NDArray[np.uint32]
    prototypes: Ids
    names: bytes
    name_offsets: NDArray[np.uint32]
    n_params: NDArray[np.uint16]
    n_slots: NDArray[np.uint16]
    is_variadic: Flags
    has_big_struct_arg: Flags
    has_union_arg: Flags
    has_void_arg: Flags
    return_size: NDArray[np.uint32]
    has_struct_return: Flags
    returns: NDArray[np.uint8]
    returns_in_memory: Flags
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


@dataclass(frozen=True, slots=True, eq=False)
class Prototypes:
    """What `Functions` says of a prototype, for every own type of an object; all 0 for types that are no prototypes."""

    n_params: NDArray[np.uint16]
    n_slots: NDArray[np.uint16]
    is_variadic: Flags
    has_big_struct_arg: Flags
    has_union_arg: Flags
    has_void_arg: Flags
    return_size: NDArray[np.uint32]
    has_struct_return: Flags
    returns_in_memory: Flags
    returns: NDArray[np.uint8]


def function_columns(btf: Btf) -> Functions:
    """The functions of one object (not of its base)."""
    rows = np.flatnonzero(btf.kinds == fmt.FUNC)
    prototypes = btf.targets[rows]
    btf.complain(rows, btf.gather(lambda b: b.kinds, prototypes) != fmt.FUNC_PROTO, "it has no prototype")
    names, offsets = btf.joined_names(rows)
    return Functions(
        type_ids=(rows + btf.first_id).astype(np.uint32),
        prototypes=prototypes,
        names=names,
        name_offsets=offsets,
        n_params=btf.gather(lambda b: b.prototypes.n_params, prototypes),
        n_slots=btf.gather(lambda b: b.prototypes.n_slots, prototypes),
        is_variadic=btf.gather(lambda b: b.prototypes.is_variadic, prototypes),
        has_big_struct_arg=btf.gather(lambda b: b.prototypes.has_big_struct_arg, prototypes),
        has_union_arg=btf.gather(lambda b: b.prototypes.has_union_arg, prototypes),
        has_void_arg=btf.gather(lambda b: b.prototypes.has_void_arg, prototypes),
        return_size=btf.gather(lambda b: b.prototypes.return_size, prototypes),
        has_struct_return=btf.gather(lambda b: b.prototypes.has_struct_return, prototypes),
        returns=btf.gather(lambda b: b.prototypes.returns, prototypes),
        returns_in_memory=btf.gather(lambda b: b.prototypes.returns_in_memory, prototypes),
        is_ambiguous=_ambiguous(btf, names, prototypes),
    )


def _ambiguous(btf: Btf, names: bytes, prototypes: Ids) -> Flags:
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


def _types_of(btf: Btf, prototype: int) -> tuple[int, ...]:
    """The types that a prototype returns and takes. The parameters' names may differ between alike functions."""
    return btf.target(prototype), *(param.type_id for param in btf.parameters(prototype))


def param_columns(btf: Btf) -> Params:
    """The parameters of all own prototypes."""
    rows = np.flatnonzero(btf.kinds == fmt.FUNC_PROTO)
    counts = btf.lengths[rows]
    firsts = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(counts)))
    types = btf.words[records.spread(btf.starts[rows] + fmt.RECORD_WORDS + 1, counts, 2)].astype(np.int64)
    btf.complain(np.repeat(rows, counts), types >= btf.n_types, "a parameter's type lies beyond the last type")
    return Params(rows, firsts, types)


def prototype_columns(btf: Btf) -> Prototypes:
    """What the own prototypes say."""
    params = btf.params
    firsts = params.firsts
    counts = np.diff(firsts)
    sizes = btf.gather(lambda b: b.value_sizes, params.types)
    kinds = btf.gather(lambda b: b.bare_kinds, params.types)
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
        has_big_struct_arg=per_type(sums(sizes > BIG_STRUCT, firsts), np.bool_),
        has_union_arg=per_type(sums(kinds == fmt.UNION, firsts), np.bool_),
        has_void_arg=per_type(sums((sizes == 0) & ~is_ellipsis, firsts), np.bool_),
        return_size=per_type(return_sizes, np.uint32),
        has_struct_return=per_type(is_struct, np.bool_),
        returns_in_memory=per_type(is_struct & (return_sizes > BIG_STRUCT), np.bool_),
        returns=per_type(_returns(btf, returned), np.uint8),
    )


def _returns(btf: Btf, returned: Ids) -> NDArray[np.uint8]:
    """How each of the types `returned` lies in a register of 64 bits (`Functions.returns`)."""
    sizes = btf.gather(lambda b: b.value_sizes, returned)
    bare = btf.gather(lambda b: b.bare, returned)
    codes = np.where(sizes < SLOT_SIZE, 8 * (SLOT_SIZE - np.maximum(sizes, 1)), 0).astype(np.uint8)
    codes[btf.gather(lambda b: b.is_signed, bare)] |= fmt.RETURNS_SIGNED
    codes[sizes > SLOT_SIZE] = fmt.RETURNS_UNKNOWN
    codes[bare == 0] = fmt.RETURNS_NOTHING
    return codes


def prototypes_taking(btf: Btf, matches: Flags, position: int | None) -> Flags:
    """For each own type: is it a prototype with a parameter (at `position`) whose type is one of `matches`?

    `matches` says it for every type id, the base's included.
    """
    params = btf.params
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

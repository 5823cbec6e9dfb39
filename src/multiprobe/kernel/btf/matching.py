"""Finds the BTF types that a parsed C spelling matches, all at once with NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from multiprobe.kernel.btf import columns as records
from multiprobe.kernel.btf import format as fmt
from multiprobe.kernel.btf.spelling import INTEGER_WORDS, KIND_BITS, Spelled, integer_name

if TYPE_CHECKING:
    from multiprobe.kernel.btf.columns import Flags
    from multiprobe.kernel.btf.records import TypeRecords


def matching_types(btf: TypeRecords, spelled: Spelled) -> Flags:
    """For every type id, the base's included: is it the spelled type, perhaps with more qualifiers than were named?"""
    reached = _named(btf, spelled)
    for level, wanted in enumerate(spelled.qualifiers):
        if level:
            reached = _pointers_to(btf, reached)
        reached = _qualified(btf, reached, wanted)
    return reached


def _named(btf: TypeRecords, spelled: Spelled) -> Flags:
    """The innermost type itself."""
    found = np.zeros(btf.n_types, dtype=np.bool_)
    if spelled.kinds == (fmt.VOID,):
        found[0] = True
        return found
    found[btf.type_ids(spelled.name, *spelled.kinds)] = True
    if INTEGER_WORDS.issuperset(spelled.name.split()):
        for type_id in btf.integer_ids():
            found[type_id] |= integer_name(btf.name(type_id)) == spelled.name
    return found


def _pointers_to(btf: TypeRecords, reached: Flags) -> Flags:
    found = np.zeros(btf.n_types, dtype=np.bool_)
    for part in btf.parts():
        found[part.first_id : part.n_types] = (part.kinds == fmt.PTR) & reached[part.references]
    return found


def _qualified(btf: TypeRecords, reached: Flags, wanted: int) -> Flags:
    """`reached` and what adds qualifiers or tags to it, as far as all `wanted` ones are there."""
    bits = np.zeros(fmt.N_KINDS, dtype=np.int8)
    bits[list(KIND_BITS)] = list(KIND_BITS.values())
    carried = np.where(reached, 0, -1).astype(np.int8)
    for _ in range(fmt.MAX_DEPTH):
        grown = False
        for part in btf.parts():
            own = carried[part.first_id : part.n_types]
            behind = carried[part.references]
            fresh = np.flatnonzero(records.is_kind(part.kinds, fmt.QUALIFIERS) & (behind >= 0) & (own < 0))
            if len(fresh):
                grown = True
                own[fresh] = behind[fresh] | bits[part.kinds[fresh]]
        if not grown:
            break
    found: Flags = (carried >= 0) & (carried & np.int8(wanted) == wanted)
    return found

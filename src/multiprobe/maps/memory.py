"""Predicts how much kernel memory maps take, by how the kernel allocates each kind. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.maps.layout import eights, layout
from multiprobe.maps.specs import Hash
from multiprobe.maps.stacks import StackTraces

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multiprobe.maps.layout import Layout
    from multiprobe.maps.specs import MapSpec

HASH_ELEMENT, HASH_BUCKET = 48, 16
"""Bytes of `struct htab_elem` before its key, and of `struct bucket` (kernel/bpf/hashtab.c)."""
STACK_ELEMENT, STACK_SLOT = 24, 8
"""Bytes of `struct stack_map_bucket` before its addresses, and of a pointer to one (kernel/bpf/stackmap.c)."""


def maps_bytes(specs: Iterable[MapSpec], n_functions: int, n_cpus: int) -> int:
    """Bytes of all these maps together. Raises UsageError for one that is too large for programs."""
    return sum(map_bytes(spec, layout(spec, n_functions, n_cpus), n_cpus) for spec in set(specs))


def map_bytes(spec: MapSpec, made: Layout, n_cpus: int) -> int:
    """Bytes of a map: what is allocated when it is created, which for all kinds is all that it will ever take."""
    if isinstance(spec, Hash):
        return _hash_bytes(spec, made, n_cpus)
    if isinstance(spec, StackTraces):
        return made.max_entries * (STACK_SLOT + STACK_ELEMENT + made.value_size)
    return made.value_size if made.is_mapped else made.max_entries  # a ring buffer's entries are bytes


def _hash_bytes(spec: Hash, made: Layout, n_cpus: int) -> int:
    buckets = HASH_BUCKET << (made.max_entries - 1).bit_length()
    element = HASH_ELEMENT + eights(made.key_size)
    if spec.per_cpu:
        return buckets + made.max_entries * (element + 8 + n_cpus * eights(made.value_size))
    n_extra = 0 if spec.kind == "lru_hash" else n_cpus  # for updates of keys that are there
    return buckets + (made.max_entries + n_extra) * (element + eights(made.value_size))

"""Predicts how much kernel memory maps take, by how the kernel allocates each kind. Pure."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

from multiprobe.maps.events import RingBuffer
from multiprobe.maps.layout import LOST_SIZE, eights
from multiprobe.maps.specs import Hash
from multiprobe.maps.stacks import StackTraces

if TYPE_CHECKING:
    from multiprobe.maps.layout import Layout
    from multiprobe.maps.set_spec import MapSetSpec
    from multiprobe.maps.specs import MapSpec

HASH_ELEMENT, HASH_BUCKET = 48, 16
"""Bytes of `struct htab_elem` before its key, and of `struct bucket` (kernel/bpf/hashtab.c)."""
STACK_ELEMENT, STACK_SLOT = 24, 8
"""Bytes of `struct stack_map_bucket` before its addresses, and of a pointer to one (kernel/bpf/stackmap.c)."""
RING_PAGES, PAGE_POINTER = 3, 8
"""Pages of a ring buffer beside its data, and bytes of a pointer to a page (kernel/bpf/ringbuf.c); data pages have two
pointers, because they are mapped twice."""


def set_bytes(spec: MapSetSpec) -> int:
    """Bytes of all maps of a `MapSet` together. Raises UsageError for one that is too large for programs."""
    declared = sum(map_bytes(one, made, spec.n_cpus) for one, made in spec.layouts().items())
    return declared + sum(map(mapped_bytes, spec.table_sizes().values()))


def map_bytes(spec: MapSpec, made: Layout, n_cpus: int) -> int:
    """Bytes of a declared map: what is allocated when it is created. No map takes more later, but those that are not
    preallocated.
    """
    if isinstance(spec, Hash):
        return _hash_bytes(spec, made, n_cpus)
    if isinstance(spec, StackTraces):
        stacks = spec.n_places * STACK_SLOT + made.max_entries * (STACK_ELEMENT + made.value_size)
        return stacks + mapped_bytes(LOST_SIZE)
    if isinstance(spec, RingBuffer):
        n_pages = RING_PAGES + made.max_entries // mmap.PAGESIZE  # its entries are bytes
        pointers = (2 * n_pages - RING_PAGES) * PAGE_POINTER
        return n_pages * mmap.PAGESIZE + pointers + mapped_bytes(LOST_SIZE)
    return mapped_bytes(made.value_size) if made.is_mapped else 0  # values by task are allocated later


def mapped_bytes(size: int) -> int:
    """Bytes of a map whose only value, of `size` bytes, is mapped into this process: whole pages, and one before."""
    return mmap.PAGESIZE * (1 + -(-size // mmap.PAGESIZE))


def _hash_bytes(spec: Hash, made: Layout, n_cpus: int) -> int:
    buckets = HASH_BUCKET << (made.max_entries - 1).bit_length()
    if not spec.preallocated:
        return buckets
    element = HASH_ELEMENT + eights(made.key_size)
    if spec.per_cpu:
        return buckets + made.max_entries * (element + 8 + n_cpus * eights(made.value_size))
    n_extra = 0 if spec.kind == "lru_hash" else n_cpus  # for updates of keys that are there
    return buckets + (made.max_entries + n_extra) * (element + eights(made.value_size))

"""Functions of the kernel that helpers call for a program, and that serve BPF alone: by helper, and by kind of map.

They were found by counting all functions while a program of each kind ran on Linux 6.1, 6.12, 6.18, 7.2 and 7.3;
tests/kernel/test_own_calls.py does so again. From 6.18 on the kernel itself keeps the ring buffers' functions, and some
of the hash tables', from being traced. Compilers split functions and add to the names of the parts
(`pcpu_init_value.part.0`), which are meant as well.

What other code of the kernel calls too isn't here, since a user who chose all functions wants to see those calls: spin
locks, reads of memory that may be absent (`copy_from_kernel_nofault`), and what walks stacks (`unwind_next_frame`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.maps.specs import Hash, LruHash
from multiprobe.uapi.bpf import FuncId

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from multiprobe.maps.specs import MapSpec

    Names = Mapping[FuncId, tuple[str, ...]]

_LOOKUP, _UPDATE, _DELETE = FuncId.MAP_LOOKUP_ELEM, FuncId.MAP_UPDATE_ELEM, FuncId.MAP_DELETE_ELEM

# check_and_free_fields is called check_and_cancel_fields from 7.2 on.
_FIELDS = (
    "check_and_free_fields",
    "check_and_cancel_fields",
    "bpf_obj_free_fields",
    "bpf_obj_cancel_fields",
    "bpf_map_free_internal_structs",
)
_TABLE: Names = {
    _LOOKUP: ("__htab_map_lookup_elem", "lookup_nulls_elem_raw"),
    _UPDATE: ("lookup_elem_raw", *_FIELDS),
    _DELETE: ("lookup_elem_raw", *_FIELDS),
}
"""Of any hash table."""
_POP = ("__pcpu_freelist_pop", "___pcpu_freelist_pop")
_PUSH = ("pcpu_freelist_push", "__pcpu_freelist_push")
_HASH: Names = {
    _UPDATE: ("alloc_htab_elem", "free_htab_elem", *_POP, *_PUSH),
    _DELETE: ("htab_map_delete_elem", "free_htab_elem", *_PUSH),
}
_LRU: Names = {
    _UPDATE: (
        "prealloc_lru_pop",
        "htab_lru_map_delete_node",
        "bpf_lru_pop_free",
        "bpf_lru_push_free",
        "__bpf_lru_node_move_to_free",
    ),
    _DELETE: ("htab_lru_map_delete_elem", "bpf_lru_push_free"),
}
_BY_KIND: Mapping[tuple[type[Hash], bool], Names] = {
    (Hash, False): {_UPDATE: ("htab_map_update_elem",)},
    (Hash, True): {
        _LOOKUP: ("htab_percpu_map_lookup_elem",),
        _UPDATE: (
            "htab_percpu_map_update_elem",
            "__htab_percpu_map_update_elem",
            "htab_map_update_elem_in_place",
            "pcpu_init_value",
        ),
    },
    (LruHash, False): {_UPDATE: ("htab_lru_map_update_elem",)},
    (LruHash, True): {
        _LOOKUP: ("htab_lru_percpu_map_lookup_elem",),
        _UPDATE: ("htab_lru_percpu_map_update_elem", "__htab_lru_percpu_map_update_elem", "pcpu_init_value"),
    },
}
"""By the kind of hash table, and whether each CPU has values of its own."""

_OTHERS: Names = {
    FuncId.RINGBUF_RESERVE: ("__bpf_ringbuf_reserve",),
    FuncId.GET_STACKID: ("__bpf_get_stackid", "stackid_fastpath"),
    FuncId.TASK_STORAGE_GET: (
        "__bpf_task_storage_get",
        "bpf_local_storage_lookup",
        "__bpf_local_storage_insert_cache",
        "task_storage_ptr",
        "bpf_local_storage_update",
        "bpf_local_storage_alloc",
        "bpf_selem_alloc",
        "bpf_selem_link_map",
        "bpf_map_get_memcg",
        "bpf_map_kzalloc",
        "bpf_map_kmalloc_nolock",
        "bpf_map_memcg_enter",
        "bpf_map_memcg_exit",
    ),
    FuncId.TASK_STORAGE_DELETE: (
        "bpf_local_storage_lookup",
        "task_storage_ptr",
        "bpf_selem_unlink",
        "bpf_selem_unlink_map",
        "bpf_selem_unlink_storage",
        "__bpf_selem_unlink_storage",
        "bpf_selem_unlink_storage_nolock",
        "bpf_selem_unlink_storage_nolock_misc",
        "bpf_selem_free",
        "bpf_local_storage_free",
        "bpf_obj_free_fields",
    ),
}
"""Of helpers for one kind of map each."""


def called_by(helper: FuncId, specs: Iterable[MapSpec]) -> Iterator[str]:
    """Names of what a helper calls in a program with the maps `specs`. Programs call no helper for arrays."""
    yield from _OTHERS.get(helper, ())
    for spec in specs:
        if isinstance(spec, Hash):
            kind = LruHash if isinstance(spec, LruHash) else Hash
            for names in (_TABLE, _LRU if kind is LruHash else _HASH, _BY_KIND[kind, spec.per_cpu]):
                yield from names.get(helper, ())

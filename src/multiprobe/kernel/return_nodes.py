"""Determines where this kernel's fprobe keeps the return addresses of running calls, from BTF or symbols. Pure.

Until Linux kernel commit 4346ba160409 ("fprobe: Rewrite fprobe on function-graph tracer", in v6.14) each link with
a return side has a pool of nodes (struct rethook); since 4bbd93455659 ("kprobes: kretprobe scalability improvement",
in v6.7) it is an objpool, with a ring of pointers for each CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from multiprobe.kernel.btf import format as fmt

if TYPE_CHECKING:
    from collections.abc import Collection

    from multiprobe.kernel.btf.records import TypeRecords

PAGE = 4096
NODE = 64
"""Bytes of struct fprobe_rethook_node, where the kernel has no BTF."""
_SESSION = 8  # what a session keeps in the node
_PER_CPU = 2  # nodes for each function and CPU (fprobe_init_rethook)
_RING_HEADER, _POINTER = 16, 8  # struct objpool_slot, and an entry of its ring
_SLABS = (8, 16, 32, 64, 96, 128, 192, 256)


class ReturnNodes(NamedTuple):
    """A pool of return nodes for each link: `size` of a node in bytes; has_rings: a ring of pointers for each CPU."""

    size: int
    has_rings: bool

    def bytes_for(self, n_functions: int, *, when: str, n_cpus: int) -> int:
        """The memory that a link on so many functions takes for its returns."""
        if when == "entry" or not n_functions:
            return 0
        size = self.size + (_SESSION if when == "session" else 0)
        per_cpu = _PER_CPU * n_functions
        nodes = per_cpu * n_cpus
        if not self.has_rings:
            return nodes * next((slab for slab in _SLABS if slab >= size), size)
        ring = 1 << (nodes - 1).bit_length()
        area = _RING_HEADER + _POINTER * ring + size * per_cpu
        return n_cpus * -(-area // PAGE) * PAGE

    def __str__(self) -> str:
        return f"{self.size} {'rings' if self.has_rings else 'list'}"


def parse_return_nodes(text: str) -> ReturnNodes | None:
    """What `str` of it says; None for "": the kernel has no such pools."""
    size, _, form = text.partition(" ")
    return ReturnNodes(int(size), form == "rings") if size.isdigit() else None


def find_return_nodes(types: TypeRecords | None, names: Collection[bytes]) -> ReturnNodes | None:
    """By the kernel's types, or by its symbols where it has none that describe fprobe."""
    fprobe = types.type_ids("fprobe", fmt.STRUCT) if types else []
    if types is None or not fprobe:
        return ReturnNodes(NODE, b"objpool_init" in names) if b"fprobe_exit_handler" in names else None
    if not any(member.name == "rethook" for member in types.members(fprobe[0])):
        return None
    sizes = [types.size(one) for one in types.type_ids("fprobe_rethook_node", fmt.STRUCT)]
    rethooks = types.type_ids("rethook", fmt.STRUCT)
    pools = [types.name(types.strip(one.type_id)) for hook in rethooks for one in types.members(hook)]
    return ReturnNodes(sizes[0] if sizes else NODE, "objpool_head" in pools)

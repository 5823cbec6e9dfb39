"""tracing_multi: one link on many functions by BTF id (FENTRY_MULTI, FEXIT_MULTI, FSESSION_MULTI).

Linux kernel commit c1d32dea5d46 and its series (in v7.2). A program belongs to one BTF object (vmlinux or one
module), and so does its link.
"""

from __future__ import annotations

import errno
from array import array
from typing import TYPE_CHECKING

from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.mechanisms.batch import attach_batch
from multiprobe.links.mechanisms.kernel_btf import ModuleGoneError, open_kernel_btf
from multiprobe.links.mechanisms.link import Link
from multiprobe.links.mechanisms.linked import Hook, Linked, LinkRequest, filling
from multiprobe.syscalls import bpf
from multiprobe.uapi.bpf import AttachType, ProgType

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from multiprobe.syscalls.fd import FileDescriptor

PROG_TYPE = ProgType.TRACING

ATTACH_TYPES = {
    "entry": AttachType.TRACE_FENTRY_MULTI,
    "return": AttachType.TRACE_FEXIT_MULTI,
    "session": AttachType.TRACE_FSESSION_MULTI,
}


def attach(request: LinkRequest) -> Linked:
    """Attach the functions by one program and link for each BTF object."""
    ids, indices = request.of_kernel.btf_ids(), request.indices
    with filling(Mechanism.TRACING_MULTI) as linked:
        for module, positions in _by_module(request):
            try:
                program = _load_for(module, request)
            except ModuleGoneError:
                linked.refused |= {indices[position]: errno.ENODEV for position in positions}
                continue
            linked.programs.append(program)

            def open_part(part: Sequence[int], program: FileDescriptor = program) -> Link:
                cookies = None if request.cookies is None else [request.cookies[position] for position in part]
                fd = open_link(program, [ids[position] for position in part], cookies, when=request.when)
                return Link(fd, Mechanism.TRACING_MULTI, [indices[position] for position in part])

            attach_batch(open_part, positions, linked, indices=indices)
    return linked


def _by_module(request: LinkRequest) -> Iterator[tuple[str, list[int]]]:
    """The positions of the functions in each module; "" is vmlinux."""
    positions: dict[int, list[int]] = {}
    table = request.of_kernel.table
    for position, row in enumerate(request.of_kernel.rows):
        positions.setdefault(table.modules[row], []).append(position)
    return ((table.module_names[module], some) for module, some in positions.items())


def _load_for(module: str, request: LinkRequest) -> FileDescriptor:
    if not module:
        return request.load(Hook(PROG_TYPE, ATTACH_TYPES[request.when]))
    with open_kernel_btf(module) as btf:
        return request.load(Hook(PROG_TYPE, ATTACH_TYPES[request.when], target_btf_fd=btf.fileno()))


def open_link(prog: FileDescriptor, ids: Sequence[int], cookies: Sequence[int] | None, *, when: str) -> FileDescriptor:
    """One link on the functions with BTF `ids`, each with the cookie at its place."""
    return bpf.link_create_tracing_multi(
        prog, ATTACH_TYPES[when], array("I", ids), cookies=array("Q", cookies) if cookies is not None else None
    )


def read_back(link: FileDescriptor, count: int) -> tuple[array[int], array[int]] | None:
    """(BTF ids, addresses) that the kernel says the link is on, sorted by id, or None where it can't tell them."""
    answer = bpf.tracing_multi_functions(link, count)
    if answer is None:
        return None
    n, ids, addresses, _ = answer
    if n != count:
        return (ids[:0], addresses[:0]) if n else None
    return ids, addresses

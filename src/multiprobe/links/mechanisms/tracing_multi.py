"""tracing_multi: one link on many functions by BTF id (FENTRY_MULTI, FEXIT_MULTI, FSESSION_MULTI).

Linux kernel commit c1d32dea5d46 and its series (in v7.2). A program belongs to one BTF object (vmlinux or one
module), and so does its link.
"""

from __future__ import annotations

import errno
from array import array
from typing import TYPE_CHECKING

from multiprobe.errors import KernelError
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.mechanisms.batch import attach_batch
from multiprobe.links.mechanisms.kernel_btf import ModuleGoneError, open_kernel_btf
from multiprobe.syscalls import bpf
from multiprobe.uapi import info
from multiprobe.uapi.bpf import AttachType, ProgType

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from multiprobe.links.mechanisms.linked import Held, Job
    from multiprobe.syscalls.fd import FileDescriptor

PROG_TYPE = ProgType.TRACING

_ATTACH_TYPES = {
    "entry": AttachType.TRACE_FENTRY_MULTI,
    "return": AttachType.TRACE_FEXIT_MULTI,
    "session": AttachType.TRACE_FSESSION_MULTI,
}


def attach_type(when: str) -> int:
    """The expected attach type of a program that runs `when`."""
    return _ATTACH_TYPES[when]


def attach(job: Job, held: Held) -> dict[int, int]:
    """Attach the job's functions, one program and link for each BTF object; the errno of each place refused."""
    ids = job.functions.btf_ids()
    refused: dict[int, int] = {}
    for module, places in _by_module(job):
        try:
            prog = _load_for(module, job)
        except ModuleGoneError:
            refused |= dict.fromkeys(places, errno.ENODEV)
            continue
        held.programs.append(prog)

        def open_part(part: Sequence[int], prog: FileDescriptor = prog) -> FileDescriptor:
            cookies = None if job.cookies is None else [job.cookies[place] for place in part]
            return open_link(prog, [ids[place] for place in part], cookies, when=job.when)

        links, culprits = attach_batch(open_part, places, mechanism=Mechanism.TRACING_MULTI)
        held.links += links
        refused |= culprits
    return refused


def _by_module(job: Job) -> Iterator[tuple[str, list[int]]]:
    places: dict[int, list[int]] = {}
    table = job.functions.table
    for place, row in enumerate(job.functions.rows):
        places.setdefault(table.modules[row], []).append(place)
    return ((table.module_names[module], share) for module, share in places.items())


def _load_for(module: str, job: Job) -> FileDescriptor:
    if not module:
        return job.load(PROG_TYPE, expected_attach_type=attach_type(job.when))
    with open_kernel_btf(module) as btf:
        return job.load(PROG_TYPE, expected_attach_type=attach_type(job.when), attach_btf_obj_fd=btf.fileno())


def open_link(prog: FileDescriptor, ids: Sequence[int], cookies: Sequence[int] | None, *, when: str) -> FileDescriptor:
    """One link on the functions with BTF `ids`, each with the cookie at its place."""
    return bpf.link_create_tracing_multi(
        prog, attach_type(when), array("I", ids), cookies=array("Q", cookies) if cookies is not None else None
    )


def count(link: FileDescriptor) -> int:
    """How many functions the kernel says the link is on."""
    return info.parse_tracing_multi(info.parse_link(bpf.object_info(link, info.LINK_SIZE)).rest).count


def read_back(link: FileDescriptor, count: int) -> tuple[array[int], array[int]] | None:
    """(BTF ids, addresses) of the link, sorted by id, or None where the kernel can't tell them."""
    ids, addresses = array("I", bytes(4 * count)), array("Q", bytes(8 * count))
    cookies = array("Q", bytes(8 * count))
    request = info.request_tracing_multi(
        ids.buffer_info()[0], count, addresses.buffer_info()[0], cookies.buffer_info()[0]
    )
    try:
        answer = bpf.object_info(link, info.LINK_SIZE, request)
    except KernelError:
        return None
    n = info.parse_tracing_multi(info.parse_link(answer).rest).count
    if n != count:
        return (ids[:0], addresses[:0]) if n else None
    return ids, addresses

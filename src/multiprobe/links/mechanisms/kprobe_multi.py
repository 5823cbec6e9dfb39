"""kprobe.multi: one link on many functions by address (BPF_TRACE_KPROBE_MULTI, BPF_TRACE_KPROBE_SESSION).

Linux kernel commit 0dcac2725406 ("bpf: Add multi kprobe link") (in v5.18); sessions: 535a3692ba72 (in v6.10).
Addresses must be the symbols': on kernels with IBT the ones of the `call __fentry__` lie 4 bytes further, and
cookies looked up by them read 0.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from multiprobe.errors import KernelError
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.mechanisms.batch import attach_batch
from multiprobe.syscalls import bpf
from multiprobe.uapi import info
from multiprobe.uapi.bpf import AttachType, ProgType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multiprobe.links.mechanisms.linked import Held, Job
    from multiprobe.syscalls.fd import FileDescriptor

PROG_TYPE = ProgType.KPROBE


def attach_type(when: str) -> int:
    """The expected attach type of a program that runs `when`."""
    return AttachType.TRACE_KPROBE_SESSION if when == "session" else AttachType.TRACE_KPROBE_MULTI


def attach(job: Job, held: Held) -> dict[int, int]:
    """Attach the job's functions, in one link but for want of memory; the errno of each place that was refused."""
    addresses = job.functions.addresses()
    prog = job.load(PROG_TYPE, expected_attach_type=attach_type(job.when))
    held.programs.append(prog)

    places: Sequence[int] = range(len(addresses))
    in_order = array("Q", sorted(addresses))
    if in_order != addresses:
        places = sorted(places, key=addresses.__getitem__)

    def open_part(part: Sequence[int]) -> FileDescriptor:
        chosen = in_order if part is places else array("Q", [addresses[place] for place in part])
        cookies = None if job.cookies is None else array("Q", [job.cookies[place] for place in part])
        return open_link(prog, chosen, cookies, when=job.when)

    links, culprits = attach_batch(open_part, places, mechanism=Mechanism.KPROBE_MULTI)
    held.links += links
    return culprits


def open_link(prog: FileDescriptor, addresses: array[int], cookies: array[int] | None, *, when: str) -> FileDescriptor:
    """One link on `addresses`, each with the cookie at its place."""
    return bpf.link_create_kprobe_multi(
        prog,
        array("Q", addresses),
        cookies=array("Q", cookies) if cookies is not None else None,
        is_return=when == "return",
        is_session=when == "session",
    )


def count(link: FileDescriptor) -> int:
    """How many functions the kernel says the link is on."""
    return info.parse_kprobe_multi(info.parse_link(bpf.object_info(link, info.LINK_SIZE)).rest).count


def read_back(link: FileDescriptor, count: int) -> tuple[array[int], array[int]] | None:
    """(addresses, cookies) that the kernel says the link is on, or None where it hides or can't tell them."""
    addresses, cookies = array("Q", bytes(8 * count)), array("Q", bytes(8 * count))
    request = info.request_kprobe_multi(addresses.buffer_info()[0], count, cookies.buffer_info()[0])
    try:
        answer = bpf.object_info(link, info.LINK_SIZE, request)
    except KernelError:
        return None  # Linux kernel commit 7ac8d0d26165 ("bpf: Support ->fill_link_info for kprobe_multi") (in v6.6)
    n = info.parse_kprobe_multi(info.parse_link(answer).rest).count
    if n != count:
        return addresses[:0], cookies[:0]
    return (addresses, cookies) if any(addresses) else None

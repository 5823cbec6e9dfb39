"""kprobe.multi: one link on many functions by address (BPF_TRACE_KPROBE_MULTI, BPF_TRACE_KPROBE_SESSION).

Linux kernel commit 0dcac2725406 ("bpf: Add multi kprobe link") (in v5.18); sessions: 535a3692ba72 (in v6.10).
Addresses must be the symbols': on kernels with IBT the ones of the `call __fentry__` lie 4 bytes further, and
cookies looked up by them read 0.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.mechanisms.batch import attach_batch
from multiprobe.links.mechanisms.link import Link
from multiprobe.links.mechanisms.linked import Hook, Linked, LinkRequest, filling
from multiprobe.syscalls import bpf
from multiprobe.uapi.bpf import AttachType, ProgType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multiprobe.syscalls.fd import FileDescriptor

PROG_TYPE = ProgType.KPROBE


def attach_type(when: str) -> int:
    """The expected attach type of a program that runs `when`."""
    return AttachType.TRACE_KPROBE_SESSION if when == "session" else AttachType.TRACE_KPROBE_MULTI


def attach(request: LinkRequest) -> Linked:
    """Attach the functions by one link; by several only where the kernel lacks the memory for one."""
    addresses, cookies = request.of_kernel.addresses(), request.cookies
    everything = range(len(addresses))
    with filling(Mechanism.KPROBE_MULTI) as linked:
        program = request.load(Hook(PROG_TYPE, attach_type(request.when)))
        linked.programs.append(program)

        def open_part(part: Sequence[int]) -> Link:
            if part is everything:
                fd = open_link(program, addresses, cookies, when=request.when)
                return Link(fd, Mechanism.KPROBE_MULTI, request.indices)
            some = None if cookies is None else array("Q", map(cookies.__getitem__, part))
            fd = open_link(program, array("Q", map(addresses.__getitem__, part)), some, when=request.when)
            return Link(fd, Mechanism.KPROBE_MULTI, [request.indices[position] for position in part])

        attach_batch(open_part, everything, linked, indices=request.indices)
    return linked


def open_link(prog: FileDescriptor, addresses: array[int], cookies: array[int] | None, *, when: str) -> FileDescriptor:
    """One link on `addresses`, each with the cookie at its place."""
    return bpf.link_create_kprobe_multi(
        prog, addresses, cookies=cookies, is_return=when == "return", is_session=when == "session"
    )


def read_back(link: FileDescriptor, count: int) -> tuple[array[int], array[int]] | None:
    """(addresses, cookies) that the kernel says the link is on, or None where it hides or can't tell them."""
    answer = bpf.kprobe_multi_functions(link, count)
    if answer is None:
        return None
    n, addresses, cookies = answer
    if n != count:
        return addresses[:0], cookies[:0]
    return (addresses, cookies) if any(addresses) else None

"""Single trampolines: one fentry, fexit or fsession program per function, loaded for it by BTF id.

Linux kernel commit fec56f5890d9 ("bpf: Introduce BPF trampoline") (in v5.5); cookies: 2fcc82411e74 (in v5.19).
A session is one fsession program where the kernel has those, else an fexit and an fentry program.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from multiprobe.errors import KernelError
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.mechanisms.kernel_btf import ModuleGoneError, open_kernel_btf
from multiprobe.links.mechanisms.link import Link
from multiprobe.links.mechanisms.linked import Hook, Linked, LinkRequest, filling
from multiprobe.links.mechanisms.singles import attach_each
from multiprobe.syscalls import bpf
from multiprobe.uapi.bpf import AttachType, ProgType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multiprobe.syscalls.fd import FileDescriptor

PROG_TYPE = ProgType.TRACING

ATTACH_TYPES = {
    "entry": AttachType.TRACE_FENTRY,
    "return": AttachType.TRACE_FEXIT,
    "session": AttachType.TRACE_FSESSION,
}


def attach(request: LinkRequest) -> Linked:
    """Attach the functions one by one, several at a time, each with a program of its own."""
    ids, rows, table = request.of_kernel.btf_ids(), request.of_kernel.rows, request.of_kernel.table
    btf = _open_types({table.module(row) for row in rows} - {""})

    def open_one(position: int, side: str) -> Link:
        module = table.module(rows[position])
        if module and module not in btf:
            raise KernelError("loading a program", errno.ENODEV, subject=f"module {module} was unloaded")
        hook = Hook(
            PROG_TYPE,
            ATTACH_TYPES[side],
            btf_id=ids[position],
            target_btf_fd=btf[module].fileno() if module else 0,
            session_side=side if request.is_paired else "",
        )
        program = request.load(hook)
        try:
            fd = open_link(program, request.cookie(position), when=side)
        except BaseException:
            program.close()
            raise
        return Link(fd, Mechanism.TRAMPOLINE, [request.indices[position]], program=program)

    with filling(Mechanism.TRAMPOLINE) as linked:
        try:
            attach_each(open_one, request, linked)
        finally:
            for fd in btf.values():
                fd.close()
    return linked


def _open_types(modules: Iterable[str]) -> dict[str, FileDescriptor]:
    """The BTF objects of those modules that are still there."""
    found = {}
    for module in modules:
        try:
            found[module] = open_kernel_btf(module)
        except ModuleGoneError:
            continue
    return found


def open_link(prog: FileDescriptor, cookie: int, *, when: str) -> FileDescriptor:
    """Attach a program to the function that it was loaded for."""
    return bpf.link_create_tracing(prog, ATTACH_TYPES[when], cookie=cookie)

"""Single trampolines: one fentry, fexit or fsession program per function, loaded for it by BTF id.

Linux kernel commit fec56f5890d9 ("bpf: Introduce BPF trampoline") (in v5.5); cookies: 2fcc82411e74 (in v5.19).
A session is one fsession program where the kernel has those, else an fexit and an fentry program.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from multiprobe.errors import KernelError
from multiprobe.links.mechanisms.kernel_btf import ModuleGoneError, open_kernel_btf
from multiprobe.links.mechanisms.singles import attach_each, open_sides
from multiprobe.syscalls import bpf
from multiprobe.uapi.bpf import AttachType, ProgType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multiprobe.links.mechanisms.linked import Held, Job
    from multiprobe.syscalls.fd import FileDescriptor

PROG_TYPE = ProgType.TRACING

_ATTACH_TYPES = {
    "entry": AttachType.TRACE_FENTRY,
    "return": AttachType.TRACE_FEXIT,
    "session": AttachType.TRACE_FSESSION,
}


def attach_type(when: str) -> int:
    """The expected attach type of a program that runs `when`."""
    return _ATTACH_TYPES[when]


def attach(job: Job, held: Held) -> dict[int, int]:
    """Attach the job's functions one by one, many at a time; the errno of each place that was refused."""
    ids, rows, table = job.functions.btf_ids(), job.functions.rows, job.functions.table
    modules = {table.module(row) for row in rows} - {""}
    btf = _open_types(modules)

    def open_side(place: int, side: str) -> list[FileDescriptor]:
        module = table.module(rows[place])
        if module and module not in btf:
            raise KernelError("loading a program", errno.ENODEV, subject=f"module {module} was unloaded")
        prog = job.load(
            PROG_TYPE,
            expected_attach_type=attach_type(side),
            attach_btf_id=ids[place],
            attach_btf_obj_fd=btf[module].fileno() if module else 0,
            session_side=side if job.is_paired else "",
        )
        try:
            return [open_link(prog, job.cookies[place] if job.cookies else 0, when=side), prog]
        except BaseException:
            prog.close()
            raise

    def open_one(place: int) -> list[FileDescriptor]:
        return open_sides(lambda side: open_side(place, side), job.sides)

    try:
        opened, refused = attach_each(open_one, range(len(rows)), progress=job.progress)
    finally:
        for fd in btf.values():
            fd.close()
    for place, descriptors in opened.items():
        held.places += [place] * (len(descriptors) // 2)
        held.links += descriptors[::2]
        held.programs += descriptors[1::2]
    return refused


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
    return bpf.link_create_tracing(prog, attach_type(when), cookie=cookie)

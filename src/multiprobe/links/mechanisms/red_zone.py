"""Probes on five-byte nops, which some kernels turn into calls: a call overwrites memory that a leaf function may use.

Linux kernel commit ba2bfc97b462 ("uprobes/x86: Add support to optimize uprobes") (in v6.18): the call pushes its return
address into the 128 bytes below the stack pointer, the red zone, where a function that calls no other keeps variables.
Kernels that step over the red zone first, since 554ba38456da (in v7.2), do no harm. Which kind this is, a program of
our own tells, which is probed while it counts its wrong results.
"""

from __future__ import annotations

import os
from array import array
from functools import cache
from struct import pack, unpack_from
from typing import TYPE_CHECKING

from multiprobe.binaries.mixed import binary_parts
from multiprobe.binaries.usdt import UsdtProbeSet
from multiprobe.errors import MultiprobeError
from multiprobe.links.mechanisms.leaf_program import CALLS, NOP5, SITE, leaf_program
from multiprobe.links.mechanisms.linked import Hook
from multiprobe.links.mechanisms.uprobe_program import PROG_TYPE, attach_type, open_unchanged
from multiprobe.maps.maps import SharedArray
from multiprobe.syscalls import bpf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.binaries.sets import UserFunctionSet
    from multiprobe.syscalls.fd import FileDescriptor

_MACHINE = "x86_64"
_MAP_VALUE = 2  # BPF_PSEUDO_MAP_VALUE


def nop_sites(functions: AnyFunctionSet) -> dict[int, str]:
    """The positions of the functions that would be probed at five-byte nops alone, and what begins with one."""
    found: dict[int, str] = {}
    for first, part in binary_parts(functions) if os.uname().machine == _MACHINE else ():
        sites = part.sites()
        at_nops = _nops(part, sites.offsets)
        if not at_nops:
            continue
        elsewhere = {position for place, position in enumerate(sites.positions) if place not in at_nops}
        verb = "is" if isinstance(part, UsdtProbeSet) else "begins with"
        found |= {
            first + position: f"{part.label(position)} {verb}"
            for position in dict.fromkeys(sites.positions)
            if position not in elsewhere
        }
    return found


def harmful_sites(probes: UsdtProbeSet) -> dict[int, str]:
    """The offsets in the file of the sites at which a probe would change results, each with the reason."""
    offsets = probes.sites().offsets if os.uname().machine == _MACHINE else array("Q")
    found = _nops(probes, offsets)
    why = why_harmful() if found else ""
    return {offsets[place]: f"the site is a five-byte nop, and {why}" for place in found} if why else {}


def _nops(functions: UserFunctionSet, offsets: Sequence[int]) -> set[int]:
    """The places in `offsets` at which the file of the functions has a five-byte nop."""
    with open_unchanged(functions) as file:
        return set(functions.table.starting_with(file, offsets, NOP5))


@cache
def why_harmful() -> str:
    """Why a probe on a five-byte nop is refused on this kernel; "" if it does no harm."""
    try:
        n_hits, n_wrong = try_probe()
    except (MultiprobeError, OSError) as error:
        return f"whether this kernel's probes of those change results could not be tried: {error}"
    if n_wrong:
        return (
            "this kernel turns a probe on it into a call that overwrites the caller's red zone: "
            f"{n_wrong} of {CALLS} calls of a test function gave wrong results"
        )
    if n_hits != CALLS:
        return f"a probe on one was hit {n_hits} times in {CALLS} calls"
    return ""


def try_probe() -> tuple[int, int]:
    """How often a probe on the nop of a program of our own was hit, and how many of its results were wrong.

    Raises KernelError, NotPermittedError, and OSError if the program can't be run.
    """
    fd = os.memfd_create("multiprobe-leaf", os.MFD_CLOEXEC)
    try:
        os.write(fd, leaf_program())
        hits = SharedArray(8, name="hits")
        try:
            with _load_counter(hits) as program, _link(program, fd):
                n_wrong = _run(f"/proc/self/fd/{fd}")
            return unpack_from("<Q", hits.memory)[0], n_wrong
        finally:
            hits.close()
    finally:
        os.close(fd)


def _load_counter(hits: SharedArray) -> FileDescriptor:
    """A program that adds 1 to the first 8 bytes of `hits`."""
    insns = (
        (0x18, 1 | _MAP_VALUE << 4, 0, hits.fd.fileno()),  # r1 = the address of the map's value
        (0, 0, 0, 0),
        (0xB7, 2, 0, 1),  # r2 = 1
        (0xDB, 1 | 2 << 4, 0, 0),  # lock *(u64 *)r1 += r2
        (0xB7, 0, 0, 0),
        (0x95, 0, 0, 0),
    )
    code = b"".join(pack("<BBhi", *insn) for insn in insns)
    return Hook(PROG_TYPE, attach_type("entry")).load(code, name="hits")


def _link(program: FileDescriptor, fd: int) -> FileDescriptor:
    return bpf.link_create_uprobe_multi(program, attach_type("entry"), f"/proc/self/fd/{fd}", array("Q", [SITE]))


def _run(path: str) -> int:
    """The exit status of a program; CALLS if it ended otherwise."""
    pid = os.posix_spawn(path, ["leaf"], {})
    _, status = os.waitpid(pid, 0)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else CALLS

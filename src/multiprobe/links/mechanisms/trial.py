"""What probes do to a program of our own: how often they were hit, and how many of its results were wrong.

Whether this kernel takes an instruction for another one is found by trial, never by its version.
"""

from __future__ import annotations

import os
import signal
from array import array
from functools import cache
from struct import pack, unpack_from
from typing import TYPE_CHECKING, NamedTuple

from multiprobe.links.mechanisms.leaf_program import CALLS, KILLED, LEAVES, leaf_program, sites
from multiprobe.links.mechanisms.linked import Hook
from multiprobe.links.mechanisms.uprobe_program import PROG_TYPE, attach_type
from multiprobe.maps.maps import SharedArray
from multiprobe.syscalls import bpf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multiprobe.binaries.instructions import Kind
    from multiprobe.links.mechanisms.leaf_program import Leaf
    from multiprobe.syscalls.fd import FileDescriptor

_MAP_VALUE = 2  # BPF_PSEUDO_MAP_VALUE
_MFD_EXEC = 0x10
"""Without it, a file of the sysctl vm.memfd_noexec=1 can't be run. In all kernels that have uprobe.multi."""


class Outcome(NamedTuple):
    """How CALLS calls of the function of a `Leaf` went while its `n_probes` instructions were probed.

    n_hits: of all probes; n_wrong: calls; signal: that ended the program, or 0
    """

    n_probes: int
    n_hits: int
    n_wrong: int = 0
    signal: int = 0

    @property
    def is_right(self) -> bool:
        """Whether all probes were hit in every call, and changed nothing."""
        return self.n_hits == self.n_probes * CALLS and not self.n_wrong and not self.signal

    @property
    def cant_run(self) -> bool:
        """Whether the processor does not have the instruction."""
        return self.signal == signal.SIGILL

    def __str__(self) -> str:
        if self.signal:
            return f"a test function was killed by {signal.Signals(self.signal).name}"
        if self.n_wrong:
            return f"{self.n_wrong} of {CALLS} calls of a test function gave wrong results"
        return f"a probe on one was hit {self.n_hits // self.n_probes} times in {CALLS} calls"


def try_kinds(kinds: frozenset[Kind]) -> dict[Kind, Outcome]:
    """How it went with instructions of these kinds, each tried once by this process; kinds without a `Leaf` left out.

    Raises KernelError, NotPermittedError, and OSError if the program can't be run.
    """
    tried = _tried()
    new = {kind: leaf for kind, leaf in LEAVES.items() if kind in kinds and kind not in tried}
    if new:
        tried |= zip(new, _try(list(new.values())), strict=True)
    return {kind: outcome for kind, outcome in tried.items() if kind in kinds}


@cache
def _tried() -> dict[Kind, Outcome]:
    """What is known so far."""
    return {}


def _try(leaves: Sequence[Leaf]) -> list[Outcome]:
    fd = os.memfd_create("multiprobe-leaf", os.MFD_CLOEXEC | _MFD_EXEC)
    try:
        os.write(fd, leaf_program(leaves))
        hits = SharedArray(8, name="hits")
        try:
            with _load_counter(hits) as program, _link(program, fd, sites(leaves)):
                return [_run(fd, number, leaf, hits) for number, leaf in enumerate(leaves)]
        finally:
            hits.close()
    finally:
        os.close(fd)


def _run(fd: int, number: int, leaf: Leaf, hits: SharedArray) -> Outcome:
    """Run the program with as many arguments as choose the function."""
    (before,) = unpack_from("<Q", hits.memory)
    pid = os.posix_spawn(f"/proc/self/fd/{fd}", ["leaf"] * (number + 1), {})
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    n_hits = unpack_from("<Q", hits.memory)[0] - before
    if 0 <= code < KILLED:
        return Outcome(len(leaf.probed), n_hits, n_wrong=code)
    return Outcome(len(leaf.probed), n_hits, signal=-code if code < 0 else code - KILLED)


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


def _link(program: FileDescriptor, fd: int, offsets: Sequence[int]) -> FileDescriptor:
    return bpf.link_create_uprobe_multi(program, attach_type("entry"), f"/proc/self/fd/{fd}", array("Q", offsets))

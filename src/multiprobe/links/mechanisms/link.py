"""One kernel link of an attachment: its descriptors, and what the kernel says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.kernel.mechanism import Mechanism
from multiprobe.syscalls import bpf
from multiprobe.uapi import info

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multiprobe.syscalls.fd import FileDescriptor


@dataclass(frozen=True, slots=True)
class LinkState:
    """What the kernel says of a link now.

    n_functions: how many it is on, as the kernel counts them; None where this kernel doesn't tell
    missed: calls that it missed because another probe was running on that CPU; 0 where this kernel doesn't count them
    """

    link_id: int
    prog_id: int
    n_functions: int | None
    missed: int


class Link:
    """A link that attaches one program to `functions` (their indices). Owns its descriptors; must be closed.

    event, program: the perf event and the program that belong to this link alone, or None
    """

    __slots__ = ("_descriptors", "_fd", "functions", "mechanism", "program")

    def __init__(
        self,
        fd: FileDescriptor,
        mechanism: Mechanism,
        functions: Sequence[int],
        *,
        event: FileDescriptor | None = None,
        program: FileDescriptor | None = None,
    ) -> None:
        self.mechanism = mechanism
        self.functions = functions
        self.program = program
        self._fd = fd
        self._descriptors = [one for one in (fd, event, program) if one is not None]

    @property
    def fd(self) -> FileDescriptor:
        return self._fd

    @property
    def is_closed(self) -> bool:
        return self._fd.is_closed

    @property
    def id(self) -> int:
        """The kernel's id of the link, as `bpftool link` shows it."""
        return self.info().link_id

    def info(self) -> LinkState:
        """Ask the kernel. Raises ValueError once the link is closed."""
        head = info.parse_link(bpf.object_info(self._fd, info.LINK_SIZE))
        n_functions, missed = None, 0
        if self.mechanism == Mechanism.KPROBE_MULTI:
            multi = info.parse_kprobe_multi(head.rest)
            n_functions, missed = multi.count or None, multi.missed
        elif self.mechanism == Mechanism.TRACING_MULTI:
            n_functions = info.parse_tracing_multi(head.rest).count
        elif self.mechanism == Mechanism.KPROBE:
            # Linux kernel commit 3acf8ace6823 ("bpf: Add missed value to kprobe perf link info") (in v6.7); 0 before.
            n_functions, missed = 1, info.parse_perf_kprobe(head.rest).missed
        else:
            n_functions = 1
        return LinkState(head.link_id, head.prog_id, n_functions, missed)

    def missed(self) -> int:
        """Calls that the kernel did not hand over; 0 for trampolines, whose programs count them."""
        if self.is_closed or not self.mechanism & (Mechanism.KPROBE_MULTI | Mechanism.KPROBE):
            return 0
        return self.info().missed

    def pin(self, path: str) -> None:
        """Pin the link at `path` in a BPF file system: it stays attached when this process ends."""
        bpf.obj_pin(self._fd, path)

    def close(self) -> None:
        """Detach, unless the link is pinned: the link first, then its event and program."""
        for one in self._descriptors:
            one.close()

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else f"on {len(self.functions):,} functions"
        return f"<Link by {self.mechanism.label}, {state}>"

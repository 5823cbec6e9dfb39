"""One kernel link of an attachment: its descriptors, and what the kernel says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.kernel.mechanism import Mechanism
from multiprobe.plurals import plural_text
from multiprobe.syscalls import bpf
from multiprobe.uapi import info

if TYPE_CHECKING:
    from array import array
    from collections.abc import Sequence

    from multiprobe.syscalls.fd import FileDescriptor


@dataclass(frozen=True, slots=True)
class LinkState:
    """A link as the kernel describes it now (bpf_link_info).

    link_id, prog_id: the kernel's ids of the link and of its program
    n_functions: the number of functions that it is attached to; None if the kernel doesn't expose it
    missed: calls not delivered because another probe was running on that CPU; 0 if the kernel doesn't count them
    counts_missed: whether the kernel counts the calls that kprobes miss
    """

    link_id: int
    prog_id: int
    n_functions: int | None
    missed: int
    counts_missed: bool


class Link:
    """A kernel link that attaches one program to functions. Owns its file descriptors; `Attachment` closes it.

    mechanism: the mechanism; functions: the indices (as `ctx.function`) of its functions in the attachment
    program: the descriptor of a program that only this link uses, or None
    offsets: on a binary, where in the file the instructions are; a function may have several
    """

    __slots__ = ("_descriptors", "_fd", "functions", "mechanism", "offsets", "program")

    def __init__(
        self,
        fd: FileDescriptor,
        mechanism: Mechanism,
        functions: Sequence[int],
        *,
        event: FileDescriptor | None = None,
        program: FileDescriptor | None = None,
        offsets: array[int] | None = None,
    ) -> None:
        self.mechanism = mechanism
        self.functions = functions
        self.program = program
        self.offsets = offsets
        self._fd = fd
        self._descriptors = [one for one in (fd, event, program) if one is not None]

    @property
    def fd(self) -> FileDescriptor:
        """The link's file descriptor; it stays the link's."""
        return self._fd

    @property
    def is_closed(self) -> bool:
        """Whether the link was closed."""
        return self._fd.is_closed

    @property
    def id(self) -> int:
        """The kernel's id of the link, as `bpftool link` shows it. Raises ValueError once the link is closed."""
        return self.info().link_id

    def info(self) -> LinkState:
        """The link as the kernel describes it now (BPF_OBJ_GET_INFO_BY_FD).

        Raises ValueError once closed, KernelError.
        """
        head = bpf.link_info(self._fd)
        n_functions, missed = None, 0
        if self.mechanism == Mechanism.KPROBE_MULTI:
            multi = info.parse_kprobe_multi(head.rest)
            n_functions, missed = multi.n_functions or None, multi.missed
        elif self.mechanism == Mechanism.TRACING_MULTI:
            n_functions = info.parse_tracing_multi(head.rest).n_functions
        elif self.mechanism == Mechanism.UPROBE_MULTI:
            n_functions = info.parse_uprobe_multi(head.rest).n_functions or None
        elif self.mechanism == Mechanism.KPROBE:
            n_functions, missed = 1, info.parse_perf_kprobe(head.rest).missed
        else:
            n_functions = 1
        return LinkState(head.link_id, head.prog_id, n_functions, missed, head.counts_missed)

    def missed(self) -> int:
        """Calls that the kernel did not deliver; 0 for trampolines, where the program counts them."""
        if self.is_closed or not self.mechanism & (Mechanism.KPROBE_MULTI | Mechanism.KPROBE):
            return 0
        return self.info().missed

    def pin(self, path: str) -> None:
        """Pin the link at `path` in a BPF file system: it stays attached when this process ends. Raises KernelError."""
        bpf.obj_pin(self._fd, path)

    def close(self) -> None:
        """Detach, unless the link is pinned: the link first, then its event and program."""
        for one in self._descriptors:
            one.close()

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else f"on {plural_text(len(self.functions), 'function')}"
        return f"<Link by {self.mechanism.label}, {state}>"

"""What the kernel says that links and programs did not see: read from their descriptors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.kernel.mechanism import Mechanism
from multiprobe.syscalls import bpf
from multiprobe.uapi import info

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multiprobe.links.mechanisms.linked import Held
    from multiprobe.syscalls.fd import FileDescriptor


def missed_by(held: Iterable[Held]) -> dict[str, int]:
    """`link_misses` and `recursion_misses` of all that is still open (see `Attachment.missed`)."""
    links = recursion = 0
    for part in held:
        links += sum(_link_misses(link, part.mechanism) for link in part.links if not link.is_closed)
        recursion += sum(_recursion_misses(program) for program in part.programs if not program.is_closed)
    return {"link_misses": links, "recursion_misses": recursion}


def _link_misses(link: FileDescriptor, mechanism: Mechanism) -> int:
    if mechanism == Mechanism.KPROBE_MULTI:
        return info.parse_kprobe_multi(info.parse_link(bpf.object_info(link, info.LINK_SIZE)).rest).missed
    if mechanism == Mechanism.KPROBE:
        # Linux kernel commit 3acf8ace6823 ("bpf: Add missed value to kprobe perf link info") (in v6.7); 0 before.
        return info.parse_perf_kprobe(info.parse_link(bpf.object_info(link, info.LINK_SIZE)).rest).missed
    return 0  # trampolines: the programs themselves count


def _recursion_misses(program: FileDescriptor) -> int:
    return info.parse_prog(bpf.object_info(program, info.PROG_SIZE)).recursion_misses


def added(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    """The sums by cause."""
    return {cause: one.get(cause, 0) + other.get(cause, 0) for cause in {**one, **other}}

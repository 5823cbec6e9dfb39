"""Reads where in files links of uprobes are attached: uprobe.multi links, and links on perf events.

What the kernel doesn't expose is read from kernel memory, or noted as missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.inspect.sources import entry_or_session
from multiprobe.syscalls import query
from multiprobe.uapi.bpf import F_UPROBE_MULTI_RETURN

if TYPE_CHECKING:
    from multiprobe.inspect.sources import Sources
    from multiprobe.syscalls.fd import FileDescriptor

_FUNCTIONS = "functions of uprobe.multi links"


@dataclass(frozen=True, slots=True)
class UprobeTarget:
    """An instruction of a file that a link is attached to; None marks an unknown value.

    path: of the file. Of a uprobe.multi link as the kernel finds it now, with " (deleted)" behind it if it was deleted
        or replaced; of a perf event as it was given when the event was opened
    offset: of the instruction, in bytes from the start of the file; cookie: as `ctx.cookie` reads it
    semaphore: offset of the counter that the kernel raises while the link exists, 0 without one
    """

    path: str
    offset: int
    cookie: int | None
    semaphore: int | None

    def __str__(self) -> str:
        return f"{self.path.rpartition('/')[2]}+{self.offset:#x}"


@dataclass(frozen=True, slots=True)
class Uprobes:
    """The uprobes of one link. when, pid: as in `ObservedLink`; n: None where the kernel doesn't tell"""

    when: str
    n: int | None
    targets: tuple[UprobeTarget, ...]
    pid: int = 0


def read_uprobe_multi(sources: Sources, fd: FileDescriptor, link_id: int, *, is_told: bool) -> Uprobes:
    """The uprobes of a uprobe.multi link. `is_told`: whether this kernel's link info has them."""
    found = query.uprobe_multi(fd) if is_told else None
    if found is None:
        # Linux kernel commit e56fdbfb06e2 ("bpf: Add link_info support for uprobe multi link") (in v6.8)
        why = "the kernel refuses to tell" if is_told else "this kernel doesn't expose them (Linux 6.8 and later do)"
        sources.miss(_FUNCTIONS, why)
        return Uprobes("", None, ())
    columns = zip(found.offsets, found.cookies, found.counters, strict=True)
    targets = tuple(UprobeTarget(found.path, offset, cookie, counter) for offset, cookie, counter in columns)
    when = "return" if found.flags & F_UPROBE_MULTI_RETURN else _entry_or_session(sources, link_id)
    return Uprobes(when, len(targets), targets, found.pid)


def _entry_or_session(sources: Sources, link_id: int) -> str:
    if sources.layouts is not None and sources.layouts.offset("bpf_uprobe", "session") is None:
        return "entry"  # Linux kernel commit d920179b3d48 ("bpf: Add support for uprobe multi session attach") (v6.13)
    is_session = sources.objects.is_uprobe_session(link_id) if sources.objects else None
    return entry_or_session(sources, "uprobe.multi", is_session=is_session)


def read_perf_uprobe(fd: FileDescriptor, *, has_cookie: bool, has_counter: bool) -> tuple[UprobeTarget, ...]:
    """The uprobe of a link on a perf event; which fields this kernel's link info has decides what else is None."""
    found = query.perf_uprobe(fd)
    if found is None or not found[0]:
        return ()
    path, told = found
    cookie, counter = told.cookie if has_cookie else None, told.counter if has_counter else None
    return (UprobeTarget(path, told.offset, cookie, counter),)

"""Lists the tracing links of all processes: functions, cookies, misses, owners.

`list_links` reads; the values are snapshots. A field is None if the kernel doesn't expose it. Links that disappear
while being listed are skipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.errors import KernelError, NotPermittedError
from multiprobe.inspect.owners import Owner
from multiprobe.inspect.targets import Details, Target, describe, probing_events
from multiprobe.inspect.uprobes import UprobeTarget
from multiprobe.syscalls import bpf, query
from multiprobe.uapi.bpf import Cmd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from multiprobe.inspect.sources import Sources
    from multiprobe.syscalls.fd import FileDescriptor


@dataclass(frozen=True, slots=True)
class ObservedProgram:
    """A BPF program, as the kernel describes it (bpf_prog_info).

    prog_id: the kernel's id; name: as loaded; tag: the digest of its instructions, in hexadecimal
    recursion_misses: calls not delivered to it because it, or a program like it, was running on that CPU
    images: the address and size in bytes of its machine code, function by function
    """

    prog_id: int
    name: str
    tag: str
    recursion_misses: int
    images: tuple[query.Image, ...] = ()

    @property
    def address(self) -> int:
        """The address of its main function; 0 where hidden, or not compiled to machine code."""
        return self.images[0].address if self.images else 0

    def __str__(self) -> str:
        return f"{self.name or 'unnamed'} (program {self.prog_id})"


@dataclass(frozen=True, slots=True)
class ObservedLink:
    """A link: one program attached to functions, as the kernel describes it (bpf_link_info).

    link_id: 0 for a program attached to a perf event without a link (PERF_EVENT_IOC_SET_BPF)
    kind: "tracing_multi", "kprobe_multi", "trampoline", "kprobe", or another kind of tracing link ("tracepoint",
        "raw_tracepoint", "uprobe", "uprobe_multi", "lsm", …)
    when: "entry", "return" or "session"; "" for kinds without sides, and where the kernel doesn't expose it
    program: what it runs; owners: the processes that hold it open (from /proc/*/fdinfo)
    n_functions: the number of its functions; `targets` has fewer where their names and addresses are hidden
    missed: calls not delivered because of another probe running; None where not counted
    uprobes: of links on programs and libraries, the instructions; pid: the only process that they are in, 0 for all
    """

    link_id: int
    kind: str
    when: str
    program: ObservedProgram
    n_functions: int | None
    targets: tuple[Target, ...]
    missed: int | None
    owners: tuple[Owner, ...]
    uprobes: tuple[UprobeTarget, ...] = ()
    pid: int = 0

    @property
    def has_cookies(self) -> bool | None:
        """Whether any function has a cookie other than 0; None where the kernel exposes no cookies."""
        known = self.cookies
        return any(known) if known else None

    @property
    def cookies(self) -> list[int]:
        """The cookies that are known, of all functions."""
        found = [*(target.cookie for target in self.targets), *(target.cookie for target in self.uprobes)]
        return [cookie for cookie in found if cookie is not None]


def list_links(sources: Sources) -> tuple[ObservedLink, ...]:
    """Every tracing link, by id, then what is attached without one. Listing takes CAP_SYS_ADMIN."""
    holders = sources.holders  # first, while we hold no descriptors of other processes' links ourselves
    found = []
    programs: dict[int, ObservedProgram] = {}
    for link_id in _ids():
        link = _read(sources, link_id, programs, holders.by_link.get(link_id, ()))
        if link is not None:
            found.append(link)
    linked = {link.program.prog_id for link in found}
    found += [
        _link(0, event.details, _program(event.prog_id, programs), event.owners)
        for event in probing_events(sources)
        if event.prog_id not in linked
    ]
    return tuple(found)


def _ids() -> Iterator[int]:
    at: int | None = 0
    try:
        while (at := bpf.next_id(Cmd.LINK_GET_NEXT_ID, at or 0)) is not None:
            yield at
    except NotPermittedError as error:
        raise NotPermittedError(
            "listing BPF links: EPERM, the kernel does not permit it", hint="run as root, or with CAP_SYS_ADMIN"
        ) from error


def _read(
    sources: Sources, link_id: int, programs: dict[int, ObservedProgram], owners: tuple[Owner, ...]
) -> ObservedLink | None:
    fd = bpf.open_by_id(Cmd.LINK_GET_FD_BY_ID, link_id, "link")
    if fd is None:
        return None
    with fd:
        head = bpf.link_info(fd)
        details = describe(sources, fd, head)
    return None if details is None else _link(link_id, details, _program(head.prog_id, programs), owners)


def _link(link_id: int, it: Details, program: ObservedProgram, owners: tuple[Owner, ...]) -> ObservedLink:
    return ObservedLink(
        link_id, it.kind, it.when, program, it.n_functions, it.targets, it.missed, owners, it.uprobes, it.pid
    )


def _program(prog_id: int, known: dict[int, ObservedProgram]) -> ObservedProgram:
    if prog_id not in known:
        known[prog_id] = _read_program(prog_id)
    return known[prog_id]


def _read_program(prog_id: int) -> ObservedProgram:
    fd = bpf.open_by_id(Cmd.PROG_GET_FD_BY_ID, prog_id, "program")
    if fd is None:
        return ObservedProgram(prog_id, "", "", 0)
    with fd:
        told = bpf.prog_info(fd)
        return ObservedProgram(prog_id, told.name, told.tag, told.recursion_misses, _images(fd))


def _images(fd: FileDescriptor) -> tuple[query.Image, ...]:
    try:
        return query.prog_images(fd)
    except KernelError:
        return ()

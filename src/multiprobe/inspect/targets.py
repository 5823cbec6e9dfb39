"""Decodes the functions that a link is attached to, from the link info of each kind of link.

The kernel's BTF determines which fields its link info has, because a field that the kernel lacks reads as 0. Missing
fields are read from kernel memory (`objects`) and from the owner's descriptors.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from multiprobe.errors import DataError, MultiprobeError
from multiprobe.inspect import owners
from multiprobe.inspect.sources import entry_or_session
from multiprobe.inspect.uprobes import UprobeTarget, read_perf_uprobe, read_uprobe_multi
from multiprobe.kernel.btf import format as fmt
from multiprobe.syscalls import bpf, query
from multiprobe.uapi import info
from multiprobe.uapi.bpf import F_KPROBE_MULTI_RETURN, AttachType, Cmd, LinkType, PerfEventLinkType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multiprobe.inspect.names import Symbol
    from multiprobe.inspect.sources import Sources
    from multiprobe.syscalls.fd import FileDescriptor

_SIDES: dict[int, str] = {
    AttachType.TRACE_FENTRY: "entry",
    AttachType.TRACE_FEXIT: "return",
    AttachType.TRACE_FSESSION: "session",
    AttachType.TRACE_FENTRY_MULTI: "entry",
    AttachType.TRACE_FEXIT_MULTI: "return",
    AttachType.TRACE_FSESSION_MULTI: "session",
}
_LSM_MAC, _NO_ATTACH_TYPE = 27, 0
_OTHER_TRACING: dict[int, str] = {
    AttachType.MODIFY_RETURN: "modify_return",
    _LSM_MAC: "lsm",
    _NO_ATTACH_TYPE: "freplace",
}
_PERF: dict[int, tuple[str, str]] = {
    PerfEventLinkType.UPROBE: ("uprobe", "entry"),
    PerfEventLinkType.URETPROBE: ("uprobe", "return"),
    PerfEventLinkType.KPROBE: ("kprobe", "entry"),
    PerfEventLinkType.KRETPROBE: ("kprobe", "return"),
    PerfEventLinkType.TRACEPOINT: ("tracepoint", ""),
    PerfEventLinkType.EVENT: ("perf_event", ""),
}
_TASK_FD = {1: ("tracepoint", ""), 2: ("kprobe", "entry"), 3: ("kprobe", "return"), 4: ("uprobe", "entry"),
            5: ("uprobe", "return")}  # fmt: skip  # enum bpf_task_fd_type


@dataclass(frozen=True, slots=True)
class Target:
    """A function that a link is attached to; None marks an unknown value.

    name, module: of the function, `module` "" for vmlinux; address: of its symbol, an int
    offset: bytes from there to the probe, 0 for the entry
    btf_obj_id, btf_id: the ids of its BTF object and of its type in it; cookie: as `ctx.cookie` reads it
    """

    name: str
    module: str
    address: int | None
    offset: int
    btf_obj_id: int | None
    btf_id: int | None
    cookie: int | None

    def __str__(self) -> str:
        name = self.name or (f"{self.address:#x}" if self.address else f"BTF id {self.btf_id}")
        place = f"+{self.offset:#x}" if self.offset else ""
        return f"{name}{place} [{self.module}]" if self.module else name + place


@dataclass(frozen=True, slots=True)
class Details:
    """The part of a link info that depends on the kind of link; fields as in `ObservedLink`."""

    kind: str
    when: str
    n_functions: int | None
    targets: tuple[Target, ...]
    missed: int | None
    uprobes: tuple[UprobeTarget, ...] = ()
    pid: int = 0


def describe(sources: Sources, fd: FileDescriptor, head: info.LinkInfo) -> Details | None:
    """Read which functions a link is on; None for links that trace nothing (of networks, iterators, …)."""
    if head.kind == LinkType.KPROBE_MULTI:
        return _kprobe_multi(sources, fd, head)
    if head.kind == LinkType.TRACING_MULTI:
        return _tracing_multi(sources, fd, head)
    if head.kind == LinkType.TRACING:
        return _tracing(sources, head)
    if head.kind == LinkType.PERF_EVENT:
        return _perf(sources, fd, head)
    if head.kind == LinkType.UPROBE_MULTI:
        found = read_uprobe_multi(sources, fd, head.link_id, is_told=has_info(sources, "uprobe_multi.path"))
        return Details("uprobe_multi", found.when, found.n, (), None, found.targets, found.pid)
    return Details("raw_tracepoint", "", None, (), None) if head.kind == LinkType.RAW_TRACEPOINT else None


def has_info(sources: Sources, path: str) -> bool:
    """Whether this kernel's struct bpf_link_info has this member; true without BTF."""
    return sources.layouts is None or sources.layouts.offset("bpf_link_info", path) is not None


def _tells_cookies(sources: Sources, path: str, cookies: Sequence[int]) -> bool:
    """Whether these cookies are the kernel's; without BTF, not if all are 0."""
    return has_info(sources, path) and (sources.layouts is not None or any(cookies))


def _kprobe_multi(sources: Sources, fd: FileDescriptor, head: info.LinkInfo) -> Details:
    has_any = has_info(sources, "kprobe_multi.count")
    has_cookies = has_info(sources, "kprobe_multi.cookies")
    told = info.parse_kprobe_multi(head.rest)
    targets: tuple[Target, ...] = ()
    n = told.n_functions
    answer = bpf.kprobe_multi_functions(fd, n, has_cookies=has_cookies) if has_any and n else None
    if answer is not None:
        _, addresses, cookies = answer
        has_cookies = _tells_cookies(sources, "kprobe_multi.cookies", cookies)
        targets = at_addresses(sources, addresses, cookies if has_cookies else None)
    if not has_any:
        # Linux kernel commit 7ac8d0d26165 ("bpf: Support ->fill_link_info for kprobe_multi") (in v6.6)
        sources.miss("functions of kprobe.multi links", "this kernel doesn't expose them (Linux 6.6 and later do)")
        return Details("kprobe_multi", "", None, (), None)
    if n and not targets:
        sources.miss("functions of kprobe.multi links", "the kernel hides addresses from this user", "run as root")
    when = "return" if told.flags & F_KPROBE_MULTI_RETURN else _entry_or_session(sources, head.link_id)
    missed = told.missed if has_info(sources, "kprobe_multi.missed") else None
    return Details("kprobe_multi", when, n, targets, missed)


def _entry_or_session(sources: Sources, link_id: int) -> str:
    is_session = sources.objects.is_session(link_id) if sources.objects else None
    return entry_or_session(sources, "kprobe.multi", is_session=is_session)


def _tracing_multi(sources: Sources, fd: FileDescriptor, head: info.LinkInfo) -> Details:
    told = info.parse_tracing_multi(head.rest)
    if not has_info(sources, "tracing_multi.ids"):
        return _tracing_multi_of_fdinfo(sources, fd)
    targets: tuple[Target, ...] = ()
    n = told.n_functions
    answer = bpf.tracing_multi_functions(fd, n) if n else None
    if answer is not None:
        _, ids, addresses, cookies = answer
        symbols = _symbols(sources, addresses)
        targets = tuple(
            _of_btf(sources, told.btf_obj_id, ids[i], cookies[i], symbols[i]) for i in range(told.n_functions)
        )
    return Details("tracing_multi", _SIDES.get(told.attach_type, ""), told.n_functions, targets, None)


def _tracing_multi_of_fdinfo(sources: Sources, fd: FileDescriptor) -> Details:
    # Link info of tracing_multi came after the link itself; fdinfo has told from the start.
    text = owners.read_fdinfo(owners.Owner(os.getpid(), "", fd.fileno()))
    kind = owners.parse_fdinfo(text).get("attach_type", "")
    targets = tuple(
        _of_btf(sources, line.btf_obj_id, line.btf_id, line.cookie, None) for line in owners.parse_functions(text)
    )
    when = _SIDES.get(int(kind), "") if kind.isdecimal() else ""
    return Details("tracing_multi", when, len(targets), targets, None)


def _tracing(sources: Sources, head: info.LinkInfo) -> Details:
    told = info.parse_tracing(head.rest)
    kind = "trampoline" if told.attach_type in _SIDES else _OTHER_TRACING.get(told.attach_type, "tracing")
    when = _SIDES.get(told.attach_type, "")
    cookie: int | None = told.cookie
    if not _tells_cookies(sources, "tracing.cookie", [told.cookie]):
        cookie = sources.objects.trampoline_cookie(head.link_id) if sources.objects else None
    if not told.target_btf_id:
        return Details(kind, when, None, (), None)
    program = _target_program(sources, head.prog_id, told.target_obj_id)
    if program is not None:
        target = Target(program, "bpf", None, 0, None, None, cookie)
    else:
        target = _of_btf(sources, told.target_obj_id, told.target_btf_id, cookie, None)
    return Details(kind, when, 1, (target,), None)


def _target_program(sources: Sources, prog_id: int, object_id: int) -> str | None:
    """The name of the BPF program that another one traces; None when it traces a function of the kernel.

    A link's target object is one of BTF or a program. The tracing program names the BTF object if it is one, and
    nothing otherwise.
    """
    if sources.layouts is None or sources.layouts.offset("bpf_prog_info", "attach_btf_obj_id") is None:
        return None
    fd = bpf.open_by_id(Cmd.PROG_GET_FD_BY_ID, prog_id, "program")
    if fd is None:
        return None
    with fd:
        if bpf.prog_info(fd).attach_btf_obj_id:
            return None
    target = bpf.open_by_id(Cmd.PROG_GET_FD_BY_ID, object_id, "program")
    if target is None:
        return f"program {object_id}"
    with target:
        return bpf.prog_info(target).name or f"program {object_id}"


def _perf(sources: Sources, fd: FileDescriptor, head: info.LinkInfo) -> Details:
    if not has_info(sources, "perf_event.kprobe"):
        # Linux kernel commit 1b715e1b0ec5 ("bpf: Support ->fill_link_info for perf_event") (in v6.6)
        return _perf_of_owner(sources, head)
    told = info.parse_perf_kprobe(head.rest)
    kind, when = _PERF.get(told.kind, ("perf_event", ""))
    if kind == "uprobe":
        has_cookie, has_counter = (
            has_info(sources, f"perf_event.uprobe.{name}") for name in ("cookie", "ref_ctr_offset")
        )
        uprobes = read_perf_uprobe(fd, has_cookie=has_cookie, has_counter=has_counter)
        return Details(kind, when, len(uprobes) or None, (), None, uprobes)
    if kind != "kprobe":
        return Details(kind, when, None, (), None)
    cookie: int | None = told.cookie
    if not _tells_cookies(sources, "perf_event.kprobe.cookie", [told.cookie]):
        cookie = sources.objects.perf_cookie(head.link_id) if sources.objects else None
    targets = at_addresses(sources, [told.address], [cookie]) if told.address else ()
    missed = told.missed if has_info(sources, "perf_event.kprobe.missed") else None
    return Details(kind, when, 1, targets, missed)


def _perf_of_owner(sources: Sources, head: info.LinkInfo) -> Details:
    """The probe of the perf events with the same program; of several, kernel memory says which is the link's."""
    events = [event for event in probing_events(sources) if event.prog_id == head.prog_id]
    cookie = sources.objects.perf_cookie(head.link_id) if sources.objects else None
    if events and all(event.details.kind == "kprobe" for event in events):
        probe = sources.objects.perf_kprobe(head.link_id) if sources.objects else None
        if probe is not None:
            targets = at_addresses(sources, [probe.address], [cookie])
            return Details("kprobe", "return" if probe.is_return else "entry", 1, targets, probe.missed)
    if len(events) == 1:
        details = events[0].details
        return replace(
            details,
            targets=tuple(replace(target, cookie=cookie) for target in details.targets),
            uprobes=tuple(replace(target, cookie=cookie) for target in details.uprobes),
        )
    sources.miss("what some links on perf events probe", "this kernel doesn't expose it (Linux 6.6 and later do)")
    return Details(events[0].details.kind if events else "perf_event", "", None, (), None)


@dataclass(frozen=True, slots=True)
class ProbingEvent:
    """A perf event that runs a BPF program, and its owner."""

    prog_id: int
    details: Details
    owners: tuple[owners.Owner, ...]


def probing_events(sources: Sources) -> tuple[ProbingEvent, ...]:
    """The probes of the perf events of all processes; several descriptors of one event count once."""
    found: dict[tuple[int, int, int, int, str], list[owners.Owner]] = {}
    for event in sources.holders.perf_events:
        try:
            answer = query.perf_probe(event.pid, event.fd)
        except MultiprobeError as error:
            sources.miss("what perf events probe", str(error), error.hint)
            break
        if answer is not None:
            probe, symbol = answer
            found.setdefault((probe.prog_id, probe.kind, probe.address, probe.offset, symbol), []).append(event)
    return tuple(
        ProbingEvent(prog_id, _probe_details(sources, kind, address, offset, symbol), tuple(events))
        for (prog_id, kind, address, offset, symbol), events in found.items()
    )


def _probe_details(sources: Sources, type_: int, address: int, offset: int, symbol: str) -> Details:
    kind, when = _TASK_FD.get(type_, ("perf_event", ""))
    if kind == "uprobe" and symbol:
        return Details(kind, when, 1, (), None, (UprobeTarget(symbol, offset, None, None),))
    if kind != "kprobe":
        return Details(kind, when, None, (), None)
    if address:
        return Details(kind, when, 1, at_addresses(sources, [address], None), None)
    return Details(kind, when, 1, tuple(_named(sources, symbol, offset, None)), None)


def _named(sources: Sources, name: str, offset: int, cookie: int | None) -> list[Target]:
    symbols = sources.names.named(name) if sources.names else []
    symbol = symbols[0] if len(symbols) == 1 else None
    module, address = (symbol.module, symbol.address) if symbol else ("", None)
    return [Target(name, module, address, offset, None, None, cookie)]


def at_addresses(
    sources: Sources, addresses: Sequence[int], cookies: Sequence[int | None] | None
) -> tuple[Target, ...]:
    """The targets at some addresses, hidden ones (0) left out."""
    symbols = _symbols(sources, addresses)
    found = []
    for place, (address, symbol) in enumerate(zip(addresses, symbols, strict=True)):
        cookie = cookies[place] if cookies is not None else None
        if symbol is not None:
            offset = entry_offset(address - symbol.address)
            found.append(Target(symbol.name, symbol.module, symbol.address, offset, None, None, cookie))
        elif address:
            found.append(Target("", "", address, 0, None, None, cookie))
    return tuple(found)


def entry_offset(offset: int) -> int:
    """0 for both offsets of a function's entry: its first byte, and its call site after ENDBR."""
    return 0 if offset == 4 else offset


def _symbols(sources: Sources, addresses: Sequence[int]) -> list[Symbol | None]:
    if sources.names is None or not any(addresses):
        return [None] * len(addresses)
    return sources.names.each_at(addresses)


def _of_btf(sources: Sources, object_id: int, btf_id: int, cookie: int | None, symbol: Symbol | None) -> Target:
    """The target with a BTF id; its address is the symbol's, or the one of the only function with its name."""
    btf = sources.btf_object(object_id)
    name = ""
    if btf is not None:
        try:
            name = btf.name(btf_id) if btf.kind(btf_id) == fmt.FUNC else ""
        except DataError:
            name = ""
    if symbol is None and name and sources.names is not None:
        # The kernel resolves by name: the first symbol of vmlinux, or of the module (bpf_check_attach_target).
        symbols = sources.names.named(name)
        is_vmlinux = btf is sources.btf
        symbols = [found for found in symbols if (not found.module) == is_vmlinux]
        symbol = symbols[0] if len(symbols) == 1 else None
    module, address = (symbol.module, symbol.address) if symbol else ("", None)
    return Target(name or (symbol.name if symbol else ""), module, address, 0, object_id, btf_id, cookie)

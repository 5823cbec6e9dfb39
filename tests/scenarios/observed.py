"""What a kernel says of its links, read by system calls: the same way on the fake kernel and on a real one."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from multiprobe.errors import KernelError, NotPermittedError
from multiprobe.syscalls import bpf
from multiprobe.syscalls.fd import FileDescriptor
from multiprobe.uapi import info
from multiprobe.uapi.bpf import AttachType, Cmd, LinkType

PATIENCE_SECONDS = 15
WHEN = {
    AttachType.TRACE_FENTRY: "entry",
    AttachType.TRACE_FEXIT: "return",
    AttachType.TRACE_FSESSION: "session",
    AttachType.TRACE_FENTRY_MULTI: "entry",
    AttachType.TRACE_FEXIT_MULTI: "return",
    AttachType.TRACE_FSESSION_MULTI: "session",
}


@dataclass(frozen=True)
class Seen:
    """One link: `count` functions; `addresses` and `cookies` as far as the kernel tells them."""

    kind: int
    count: int
    when: str = ""
    addresses: tuple[int, ...] = ()
    cookies: tuple[int, ...] = ()


def errno_of(make: Callable[[], FileDescriptor]) -> int:
    """What the kernel answers: 0 if it makes the object, which is closed at once."""
    try:
        make().close()
    except KernelError as error:
        return error.errno
    except NotPermittedError as error:
        raise AssertionError(str(error)) from error
    return 0


def ids(command: int) -> set[int]:
    """The ids of all objects of a kind, by its *_GET_NEXT_ID."""
    found: set[int] = set()
    last = 0
    while (last := bpf.next_id(command, last) or 0) != 0:
        found.add(last)
    return found


def wait_until_gone(before: Mapping[int, set[int]]) -> None:
    """Wait until there is nothing beyond what was there before, by command; kernels free programs a moment later."""
    end = time.monotonic() + PATIENCE_SECONDS
    while any(ids(command) - known for command, known in before.items()):
        assert time.monotonic() < end, {command: ids(command) - known for command, known in before.items()}
        time.sleep(0.1)


def links(before: set[int] = frozenset()) -> list[Seen]:  # type: ignore[assignment]
    """All links but those with ids in `before`."""
    return list(_links(ids(Cmd.LINK_GET_NEXT_ID) - before))


def _links(numbers: set[int]) -> Iterator[Seen]:
    for number in sorted(numbers):
        link = bpf.open_by_id(Cmd.LINK_GET_FD_BY_ID, number, "link")
        if link is not None:
            with link:
                yield seen(link)


def seen(link: FileDescriptor) -> Seen:
    """What the kernel says of a link."""
    head = info.parse_link(bpf.object_info(link, info.LINK_SIZE))
    if head.kind == LinkType.KPROBE_MULTI:
        return _kprobe_multi(link, info.parse_kprobe_multi(head.rest))
    if head.kind == LinkType.TRACING_MULTI:
        return _tracing_multi(link, info.parse_tracing_multi(head.rest))
    if head.kind == LinkType.TRACING:
        told = info.parse_tracing(head.rest)
        return Seen(head.kind, 1, WHEN[AttachType(told.attach_type)], cookies=(told.cookie,))
    if head.kind == LinkType.PERF_EVENT:
        probe = info.parse_perf_kprobe(head.rest)
        when = {3: "entry", 4: "return"}.get(probe.kind, "")
        return Seen(head.kind, 1, when, (probe.address,), (probe.cookie,))
    return Seen(head.kind, 0)


def _kprobe_multi(link: FileDescriptor, told: info.KprobeMultiInfo) -> Seen:
    addresses, cookies = array("Q", bytes(8 * told.n_functions)), array("Q", bytes(8 * told.n_functions))
    if told.n_functions:
        request = info.request_kprobe_multi(addresses.buffer_info()[0], told.n_functions, cookies.buffer_info()[0])
        bpf.object_info(link, info.LINK_SIZE, request)
    when = "return" if told.flags & 1 else "entry"
    return Seen(LinkType.KPROBE_MULTI, told.n_functions, when, tuple(addresses), tuple(cookies))


def _tracing_multi(link: FileDescriptor, told: info.TracingMultiInfo) -> Seen:
    if not told.attach_type:
        return Seen(LinkType.TRACING_MULTI, 0)
    n = told.n_functions
    numbers, addresses, cookies = array("I", bytes(4 * n)), array("Q", bytes(8 * n)), array("Q", bytes(8 * n))
    request = info.request_tracing_multi(
        numbers.buffer_info()[0], n, addresses.buffer_info()[0], cookies.buffer_info()[0]
    )
    bpf.object_info(link, info.LINK_SIZE, request)
    return Seen(LinkType.TRACING_MULTI, n, WHEN[AttachType(told.attach_type)], tuple(addresses), tuple(cookies))

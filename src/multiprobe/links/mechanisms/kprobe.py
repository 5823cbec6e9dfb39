"""Single kprobes: one perf event each, anywhere in a function, with a cookie.

Never through the global `kprobe_events` file: the probe lives as long as its descriptor. Linux kernel commit
e12f03d7031a ("perf/core: Implement the 'perf_kprobe' PMU") (in v4.17); cookies: 7adfc6c9b315 (in v5.15).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.errors import RESOURCES, NotSupportedError
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.mechanisms.link import Link
from multiprobe.links.mechanisms.linked import Hook, Linked, LinkRequest, filling
from multiprobe.links.mechanisms.singles import attach_each
from multiprobe.syscalls import bpf, perf
from multiprobe.uapi.bpf import ProgType

if TYPE_CHECKING:
    from multiprobe.syscalls.fd import FileDescriptor

PROG_TYPE = ProgType.KPROBE
_PMU = "/sys/bus/event_source/devices/kprobe"


def pmu() -> tuple[int, int]:
    """(PMU type, the bit of `config` that makes a return probe), from sysfs."""
    try:
        with open(f"{_PMU}/type") as kind, open(f"{_PMU}/format/retprobe") as bit:
            return int(kind.read()), int(bit.read().strip().removeprefix("config:"))
    except OSError as error:
        if error.errno in RESOURCES:
            raise
        raise NotSupportedError(
            f"single kprobes are not available here: {_PMU} is missing",
            hint="the kernel needs CONFIG_KPROBES and CONFIG_PERF_EVENTS",
        ) from error


def attach(request: LinkRequest) -> Linked:
    """Attach the functions one by one, several at a time. Programs are shared by all links on a side."""
    addresses = request.of_kernel.addresses()
    kprobe_pmu = pmu()
    with filling(Mechanism.KPROBE) as linked:
        programs = {}
        for side in request.sides:
            hook = Hook(PROG_TYPE, session_side=side if request.is_paired else "")
            programs[side] = request.load(hook)
            linked.programs.append(programs[side])

        def open_one(position: int, side: str) -> Link:
            link, event = open_probe(
                programs[side],
                addresses[position],
                request.cookie(position),
                is_return=side == "return",
                pmu=kprobe_pmu,
            )
            return Link(link, Mechanism.KPROBE, [request.indices[position]], event=event)

        attach_each(open_one, request, linked)
    return linked


def open_probe(
    prog: FileDescriptor, address: int, cookie: int, *, is_return: bool, pmu: tuple[int, int]
) -> tuple[FileDescriptor, FileDescriptor]:
    """Attach a program at `address`: the link and the perf event that it is on."""
    event = perf.open_kprobe(pmu[0], address=address, is_return=is_return, return_bit=pmu[1])
    try:
        return bpf.link_create_perf_event(prog, event, cookie=cookie), event
    except BaseException:
        event.close()
        raise

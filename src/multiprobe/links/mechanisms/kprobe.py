"""Single kprobes: one perf event each, anywhere in a function, with a cookie.

Never through the global `kprobe_events` file: the probe lives as long as its descriptor. Linux kernel commit
e12f03d7031a ("perf/core: Implement the 'perf_kprobe' PMU") (in v4.17); cookies: 7adfc6c9b315 (in v5.15).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.errors import NotSupportedError
from multiprobe.links.mechanisms.singles import attach_each, open_sides
from multiprobe.syscalls import bpf, perf
from multiprobe.uapi.bpf import ProgType

if TYPE_CHECKING:
    from multiprobe.links.mechanisms.linked import Held, Job
    from multiprobe.syscalls.fd import FileDescriptor

PROG_TYPE = ProgType.KPROBE
_PMU = "/sys/bus/event_source/devices/kprobe"


def pmu() -> tuple[int, int]:
    """(PMU type, the bit of `config` that makes a return probe), from sysfs."""
    try:
        with open(f"{_PMU}/type") as kind, open(f"{_PMU}/format/retprobe") as bit:
            return int(kind.read()), int(bit.read().strip().removeprefix("config:"))
    except OSError as error:
        raise NotSupportedError(
            f"single kprobes are not available here: {_PMU} is missing",
            hint="the kernel needs CONFIG_KPROBES and CONFIG_PERF_EVENTS",
        ) from error


def attach(job: Job, held: Held) -> dict[int, int]:
    """Attach the job's functions one by one, many at a time; the errno of each place that was refused."""
    addresses = job.functions.addresses()
    kprobe_pmu = pmu()
    programs = {}
    for side in job.sides:
        programs[side] = job.load(PROG_TYPE, session_side=side if job.is_paired else "")
        held.programs.append(programs[side])

    def open_one(place: int) -> list[FileDescriptor]:
        address, cookie = addresses[place], job.cookies[place] if job.cookies else 0

        def open_side(side: str) -> list[FileDescriptor]:
            return open_probe(programs[side], address, cookie, is_return=side == "return", pmu=kprobe_pmu)

        return open_sides(open_side, job.sides)

    opened, refused = attach_each(open_one, range(len(addresses)), progress=job.progress)
    for place, descriptors in opened.items():
        held.places += [place] * (len(descriptors) // 2)
        held.links += descriptors[::2]
        held.extra += descriptors[1::2]
    return refused


def open_probe(
    prog: FileDescriptor, address: int, cookie: int, *, is_return: bool, pmu: tuple[int, int]
) -> list[FileDescriptor]:
    """Attach a program at `address`: the descriptors (link first, then the event) that hold it there."""
    event = perf.open_kprobe(pmu[0], address=address, is_return=is_return, return_bit=pmu[1])
    try:
        return [bpf.link_create_perf_event(prog, event, cookie=cookie), event]
    except BaseException:
        event.close()
        raise

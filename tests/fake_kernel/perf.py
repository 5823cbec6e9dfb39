"""perf_event_open(2), for kprobes."""

from __future__ import annotations

import errno
from struct import unpack_from
from typing import TYPE_CHECKING

from fake_kernel.files import PMU_TYPE, RETURN_BIT
from fake_kernel.functions import SIZE, FakeFunction
from fake_kernel.memory import Refused, read, refuse_if, text
from fake_kernel.objects import Event
from fake_kernel.profiles import CAP_PERFMON, CAP_SYS_ADMIN

if TYPE_CHECKING:
    from fake_kernel.kernel import FakeKernel

#: Where instructions begin in every function, from its first byte: ENDBR, the call of ftrace, and some more.
INSTRUCTIONS = {0, 4, 9, 10, 13}


def perf_event_open(kernel: FakeKernel, attr: int, pid: int, cpu: int, group: int, _flags: int) -> int:
    """kernel/events/core.c, perf_kprobe_event_init and alloc_trace_kprobe"""
    size = int.from_bytes(read(attr + 4, 4), "little")
    kind, _, config = unpack_from("<IIQ", read(attr, size))
    symbol, where = unpack_from("<QQ", read(attr, size), 56)
    is_paranoid = kernel.profile.perf_event_paranoid > 2
    refuse_if(is_paranoid and not kernel.profile.may(CAP_SYS_ADMIN), errno.EACCES)
    refuse_if(kind != PMU_TYPE, errno.ENOENT)
    refuse_if(not kernel.profile.may(CAP_PERFMON), errno.EACCES)
    refuse_if(kernel.profile.lockdown == "confidentiality", errno.EPERM)
    refuse_if(pid != -1 or cpu < 0 or group != -1, errno.EINVAL)
    name = text(symbol) if symbol else ""
    function, offset = _by_name(kernel, name, where) if name else _by_address(kernel, where)
    is_return = bool(config >> RETURN_BIT & 1)
    _check(kernel, function, offset, is_return=is_return)
    return kernel.install(kernel.add(Event(function=function, offset=offset, symbol=name, is_return=is_return)))


def _by_name(kernel: FakeKernel, name: str, offset: int) -> tuple[FakeFunction, int]:
    found = kernel.named(name)
    refuse_if(not found, errno.ENOENT)
    refuse_if(len(found) > 1 and kernel.profile.refuses_ambiguous, errno.EADDRNOTAVAIL)
    return found[0], offset


def _by_address(kernel: FakeKernel, address: int) -> tuple[FakeFunction, int]:
    start = address - address % SIZE
    function = kernel.by_address.get(start)
    if function is None:
        raise Refused(errno.EINVAL)
    return function, address - start


def _check(kernel: FakeKernel, function: FakeFunction, offset: int, *, is_return: bool) -> None:
    refuse_if(not function.is_traceable or function.on_blacklist, errno.EINVAL)
    refuse_if(offset not in INSTRUCTIONS, errno.EILSEQ)
    refuse_if(is_return and offset not in (0, 4), errno.EINVAL)
    number = kernel.refusals.get(("kprobe", function.name))
    refuse_if(number, number or 0)

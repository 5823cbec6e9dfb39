"""perf_event_open(2) for kprobes."""

from __future__ import annotations

import errno

from multiprobe.errors import KernelError, NotPermittedError
from multiprobe.syscalls.fd import FileDescriptor
from multiprobe.syscalls.raw import PERF_EVENT_OPEN, address_of, c_string, call_opening
from multiprobe.uapi import perf as uapi


def open_kprobe(
    pmu_type: int, *, symbol: str = "", address: int = 0, offset: int = 0, is_return: bool = False, return_bit: int = 0
) -> FileDescriptor:
    """A perf event that is one kprobe, at `symbol` + `offset` or at `address`, on every CPU and process.

    The probe lives as long as the descriptor. Raises NotPermittedError (no CAP_PERFMON, lockdown) or KernelError:
    EINVAL for a function that can't be probed, EILSEQ inside an instruction, EADDRNOTAVAIL for an ambiguous name.
    """
    name = c_string(symbol.encode()) if symbol else bytearray()
    attr = uapi.kprobe_attr(
        pmu_type,
        is_return=is_return,
        return_bit=return_bit,
        symbol=address_of(name),
        offset_or_address=offset if symbol else address,
    )
    what = f"kprobe {symbol or hex(address)}{f'+{offset:#x}' if symbol and offset else ''}"
    # pid -1 and CPU 0: a kprobe event is not bound to a CPU, its program runs on all of them
    result = call_opening(PERF_EVENT_OPEN, address_of(attr), -1, 0, -1, uapi.F_FD_CLOEXEC)
    if isinstance(result, int) and result in (-errno.EACCES, -errno.EPERM):
        raise NotPermittedError(
            f"opening {what}: {KernelError('', -result).errno_name}, the kernel does not permit it",
            hint="this takes CAP_PERFMON (or root), and a kernel that isn't locked down: see `multiprobe doctor`",
        )
    if isinstance(result, int):
        raise KernelError(f"opening {what}", -result)
    return FileDescriptor(result, what)

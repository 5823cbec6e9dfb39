"""membarrier(2), for the one thing that BPF needs of it: waiting until programs that run now have ended."""

from __future__ import annotations

import time

from multiprobe.arch import system_call_number
from multiprobe.syscalls.raw import call

_CMD_GLOBAL = 1  # enum membarrier_cmd
_GRACE = 0.1


def wait_for_programs() -> None:
    """Return when every BPF program that is running at this moment has come to its end.

    Programs run inside RCU read-side sections, and MEMBARRIER_CMD_GLOBAL is synchronize_rcu() (kernel/sched/
    membarrier.c). Kernels without it, and those with nohz_full CPUs, refuse: programs then get a tenth of a second.
    """
    if call(system_call_number("membarrier"), _CMD_GLOBAL, 0, 0) < 0:
        time.sleep(_GRACE)

"""Verifies mechanisms: makes a known number of calls and compares it with the counts.

The kernel counts only some of the calls that it does not hand to a probe; it misses others (a recursion caught by
ftrace, a call while RCU isn't watching). Whether all calls arrive, on this machine and beside everything attached now,
can only be tested. The calls are system calls without effect, and the kernel's test functions, by BPF_PROG_TEST_RUN.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.arch import native
from multiprobe.instruments.count import calls, count
from multiprobe.links.guard.kernel_tests import NAMES, KernelTests
from multiprobe.links.report import Verified

if TYPE_CHECKING:
    from collections.abc import Callable

CALLS = 500
_SYSTEM_CALLS: tuple[tuple[str, Callable[[], object]], ...] = (
    ("getppid", os.getppid),
    ("getpgid", lambda: os.getpgid(0)),
    ("getsid", lambda: os.getsid(0)),
)


def verify(
    *, mechanism: str | None = None, when: str = "entry", n_calls: int = CALLS, kernel: mp.Kernel | None = None
) -> list[Verified]:
    """Attach a counter to a few functions by `mechanism`, call each `n_calls` times, and compare the counts.

    In the results, `found` is less than `made` if calls were missed, and never more. Raises what `mp.attach` raises:
    NotSupportedError or NoMatchError if the mechanism can attach to none of the functions.
    """
    chosen = kernel or mp.Kernel()
    side = "entry" if when == "session" else when
    with mp.attach(count, _known(chosen), mechanisms=mechanism, when=side, kernel=chosen) as attachment:
        names = [function.name for function in attachment.functions]
        _call(names, n_calls, chosen)
        attachment.pause()
        totals, used = attachment.totals(calls), ", ".join(attachment.report.mechanisms)
    return [Verified(name, used, n_calls, min(n, n_calls)) for name, n in zip(names, totals, strict=True)]


def _wrapper(call: str) -> str:
    return native().wrappers[0] + call


def _known(kernel: mp.Kernel) -> list[str]:
    """The functions to call that this kernel has."""
    names = (*(_wrapper(name) for name, _ in _SYSTEM_CALLS), *NAMES)
    return [name for name in names if len(kernel.table.rows_of_name(name)) == 1]


def _call(names: list[str], n_calls: int, kernel: mp.Kernel) -> None:
    for name, call in _SYSTEM_CALLS:
        for _ in range(n_calls if _wrapper(name) in names else 0):
            call()
    if any(name in NAMES for name in names):
        with KernelTests(kernel.table) as tests:
            for _ in range(n_calls):
                tests.run()

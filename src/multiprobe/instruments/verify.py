"""Known calls, made here and looked for in the counts: a self-test of what the kernel itself does not tell.

The kernel counts some of the calls that it doesn't show to a probe, and not others (a recursion that ftrace catches, a
moment without RCU). Whether all of a mechanism's calls arrive, on this machine and with all that is attached now, shows
only by trying. Called are functions that a process can call at will: system calls without effect, and the kernel's own
test functions, by BPF_PROG_TEST_RUN.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.instruments.count import calls, count
from multiprobe.links.guard.kernel_tests import NAMES, KernelTests
from multiprobe.links.report import Verified

if TYPE_CHECKING:
    from collections.abc import Callable

CALLS = 500
_SYSTEM_CALLS: tuple[tuple[str, Callable[[], object]], ...] = (
    ("__x64_sys_getppid", os.getppid),
    ("__x64_sys_getpgid", lambda: os.getpgid(0)),
    ("__x64_sys_getsid", lambda: os.getsid(0)),
)


def verify(
    *, mechanism: str | None = None, when: str = "entry", n_calls: int = CALLS, kernel: mp.Kernel | None = None
) -> list[Verified]:
    """Attach anew by `mechanism` to a few functions, call each one `n_calls` times: how many are found in the counts.

    `found` is less than `made` where calls were missed; calls by others never make it more. Raises what `mp.attach`
    does: NotSupportedError or NoMatchError where the mechanism can carry none of them.
    """
    chosen = kernel or mp.Kernel()
    side = "entry" if when == "session" else when
    with mp.attach(count, _known(chosen), mechanisms=mechanism, when=side, kernel=chosen) as attachment:
        names = [function.name for function in attachment.functions]
        _call(names, n_calls, chosen)
        attachment.pause()
        totals, used = attachment.totals(calls), ", ".join(attachment.report.mechanisms)
    return [Verified(name, used, n_calls, min(n, n_calls)) for name, n in zip(names, totals, strict=True)]


def _known(kernel: mp.Kernel) -> list[str]:
    """Which of the functions that can be called this kernel has."""
    names = (*(name for name, _ in _SYSTEM_CALLS), *NAMES)
    return [name for name in names if len(kernel.table.rows_of_name(name)) == 1]


def _call(names: list[str], n_calls: int, kernel: mp.Kernel) -> None:
    for name, call in _SYSTEM_CALLS:
        for _ in range(n_calls if name in names else 0):
            call()
    if any(name in NAMES for name in names):
        with KernelTests(kernel.table) as tests:
            for _ in range(n_calls):
                tests.run()

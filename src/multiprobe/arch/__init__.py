"""Facts that depend on the processor: `native()` gives those of the running machine.

A new architecture is one module beside `x86_64` and one item of `ALL`. This package imports nothing of multiprobe but
its errors.
"""

from __future__ import annotations

import os

from multiprobe.arch.aarch64 import AARCH64 as AARCH64
from multiprobe.arch.facts import Arch as Arch
from multiprobe.arch.x86_64 import X86_64 as X86_64
from multiprobe.errors import NotSupportedError

ALL = (X86_64, AARCH64)


def find(machine: str) -> Arch | None:
    """The architecture that os.uname() calls `machine`, or None if it is not known."""
    return next((arch for arch in ALL if arch.machine == machine), None)


def native() -> Arch:
    """The running machine's architecture. Raises NotSupportedError if it is not known."""
    machine = os.uname().machine
    found = find(machine)
    if found is None:
        known = ", ".join(arch.machine for arch in ALL)
        raise NotSupportedError(f"multiprobe does not support the processor architecture {machine}: it knows {known}")
    return found


def system_call_number(name: str) -> int:
    """The number of system call `name` on this machine; -1, which the kernel answers with ENOSYS, if unknown."""
    found = find(os.uname().machine)
    return found.system_calls.get(name, -1) if found else -1


def system_call_of(function: str) -> str:
    """The system call that kernel function `function` is the wrapper of, as `openat` for `__x64_sys_openat`, or ""."""
    prefixes = (arch.wrappers[0] for arch in ALL)
    return next((function.removeprefix(prefix) for prefix in prefixes if function.startswith(prefix)), "")

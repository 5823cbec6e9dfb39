"""Runs `multiprobe ARGUMENTS…` up to its first attaching system call, and says what processor time it took.

    first_link.py ROOT CACHE ARGUMENTS…

ROOT has the files of a kernel (of the fake one, in `tests/fake_kernel`). System calls are answered here: by as little
code as will do, so that what is measured is multiprobe. Prints JSON: milliseconds of processor time (user and system,
from the start of the process) and the modules imported by then. Nothing is imported here that the command does not
import anyway.
"""

from __future__ import annotations

import builtins
import ctypes
import errno
import io
import os
import sys
import time
from typing import Any

BEGAN = time.process_time()
PREFIXES = ("/sys/kernel/", "/sys/bus/event_source/", "/sys/devices/system/cpu/", "/proc/kallsyms", "/proc/modules")
PREFIXES += ("/proc/sys/kernel/", "/proc/filesystems")
MAP_CREATE, PROG_LOAD, BTF_LOAD, LINK_CREATE, RAW_TRACEPOINT_OPEN = 0, 5, 18, 28, 17
UNREADABLE = 8  # the address of a list at which features.py asks for a link


def lead_into(root: str) -> None:
    """Have the kernel's own paths lead into a directory."""

    def led(function: Any) -> Any:
        def call(path: object, *arguments: object, **options: object) -> object:
            is_kernels = isinstance(path, str) and path.startswith(PREFIXES)
            return function(root + path if is_kernels else path, *arguments, **options)  # type: ignore[operator]

        return call

    builtins.open = io.open = led(open)
    for name in ("open", "stat", "access", "listdir"):
        setattr(os, name, led(getattr(os, name)))


def answer(nr: int, *arguments: int) -> int:
    """Maps are memory files; programs and types too, empty ones. The first link to a function is the end."""
    command, attr = arguments[0], ctypes.string_at(arguments[1], arguments[2]) if nr == BPF else b""
    if command == LINK_CREATE and UNREADABLE in memoryview(attr[16:]).cast("Q"):  # asks whether this kind is known
        return -errno.EFAULT
    if nr != BPF or command in (LINK_CREATE, RAW_TRACEPOINT_OPEN):
        say()
        os._exit(0)
    fd = os.memfd_create("fake")
    if command == MAP_CREATE:
        size = int.from_bytes(attr[8:12], "little") * int.from_bytes(attr[12:16], "little")
        os.ftruncate(fd, -(-size // 4096) * 4096)
    return fd


def say() -> None:
    now = time.process_time()
    names = ", ".join(f'"{name}"' for name in sys.modules if "." not in name or name.startswith("multiprobe"))
    out = f'{{"first_link": {1000 * now:.2f}, "python": {1000 * BEGAN:.2f}, "modules": [{names}]}}\n'
    os.write(1, out.encode())


lead_into(sys.argv[1])
os.environ["MULTIPROBE_CACHE"] = sys.argv[2]
sys.argv = ["multiprobe", *sys.argv[3:]]

from multiprobe.syscalls import raw  # noqa: E402

BPF = raw.BPF
raw._kernel = answer

from multiprobe.__main__ import main  # noqa: E402

main()

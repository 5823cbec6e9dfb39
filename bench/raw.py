"""What benchmarks compare with: bpf(2) without any library, and a program that does nothing."""

from __future__ import annotations

import ctypes

SYS_BPF, PROG_LOAD, LINK_CREATE = 321, 5, 28
PROG_TYPE_KPROBE = 2
RETURN_0 = bytes([0xB7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])

libc = ctypes.CDLL(None, use_errno=True)


def raw_bpf(command: int, attr: bytes) -> int:
    """What the system call answers. Raises OSError."""
    result: int = libc.syscall(SYS_BPF, command, ctypes.create_string_buffer(attr, len(attr)), len(attr))
    if result < 0:
        raise OSError(ctypes.get_errno(), "bpf")
    return result

"""Loads a BPF program with its own BTF, which other programs can trace."""

from __future__ import annotations

import struct

from multiprobe.syscalls import bpf
from multiprobe.syscalls.fd import FileDescriptor
from multiprobe.uapi.bpf import ProgType

RETURN_0 = bytes.fromhex("b700000000000000 9500000000000000")
INT, FUNC, FUNC_PROTO = 1, 12, 13
GLOBAL = 1


def load_with_btf(name: str) -> FileDescriptor:
    """Load `int NAME(void *ctx)` as a socket filter; in its BTF, type 3 is the function."""
    strings = b"\0int\0ctx\0" + name.encode() + b"\0"
    types = struct.pack("<IIII", 1, INT << 24, 4, 1 << 24 | 32)
    types += struct.pack("<IIIII", 0, FUNC_PROTO << 24 | 1, 1, 5, 4)
    types += struct.pack("<III", 9, FUNC << 24 | GLOBAL, 2)
    types += struct.pack("<III", 0, 2 << 24, 0)
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    with bpf.btf_load(header + types + strings) as btf:
        return bpf.prog_load(
            ProgType.SOCKET_FILTER, RETURN_0, name=name, btf_fd=btf.fileno(), func_info=(8, struct.pack("<II", 0, 3))
        )

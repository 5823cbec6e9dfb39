"""A small kernel made of files: symbols, ftrace's list, types and a kprobe blacklist."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

from multiprobe.functions.kernel import Kernel

BASE = 0xFFFFFFFF81000000

# Offset from BASE, type letter, name[, module]. ftrace calls in those with a call offset in CALLS.
SYMBOLS = """
000000 A per_cpu_thing
0000000 T _stext
0000000 T _text
0000000 T startup
0000100 t __pfx_tcp_sendmsg
0000110 T tcp_sendmsg
0000200 T tcp_recvmsg
0000300 t tcp_recvmsg.cold
0000400 t s_next
0000500 t s_next
0000600 T printk_va
0000700 T takes_many
0000800 T takes_big
0000900 T returns_struct
0000a00 T returns_wide
0000b00 T do_exit
0000c00 T rcu_note
0000d00 T migrate_disable
0000e00 T untraceable
0000f00 T __do_sys_getpid
0000f00 T __x64_sys_getpid
0001000 t helper.isra.0
0001100 T shadowed
0001200 T noprobe
0001240 t copy_array
0001280 t alike
0001300 T __SCT__static
0001400 T _etext
0002000 T _sinittext
0002000 t early_setup
0002100 T _einittext
0003000 d shadowed
0003100 t data_that_looks_like_text
1000000 t nf_hook	[nf_tables]
1000100 t s_next	[nf_tables]
1000200 t tcp_mod_probe	[nf_tables]
2000000 t bpf_prog_1234_name	[bpf]
"""

CALLS = {
    0x110: 4,
    0x200: 0,
    0x400: 4,
    0x500: 4,
    0x600: 4,
    0x700: 4,
    0x800: 4,
    0x900: 4,
    0xA00: 4,
    0xB00: 4,
    0xC00: 4,
    0xD00: 4,
    0xF00: 4,
    0x1000: 0,
    0x1100: 4,
    0x1200: 4,
    0x1240: 4,
    0x1280: 4,
    0x1000000: 4,
    0x1000100: 4,
    0x1000200: 4,
}

INT, SOCK, SOCK_PTR, BIG, WIDE = 1, 2, 3, 4, 5
TYPES = {
    "tcp_sendmsg": (INT, [SOCK_PTR, INT]),
    "tcp_recvmsg": (INT, [SOCK_PTR]),
    "s_next": (INT, [INT]),
    "printk_va": (INT, [SOCK_PTR, 0]),
    "takes_many": (INT, [INT] * 13),
    "takes_big": (INT, [BIG]),
    "returns_struct": (SOCK, []),
    "returns_wide": (WIDE, []),
    "do_exit": (0, [INT]),
    "rcu_note": (0, []),
    "migrate_disable": (0, []),
    "untraceable": (0, []),
    "startup": (0, []),
    "__do_sys_getpid": (INT, []),
    "shadowed": (0, []),
    "noprobe": (INT, [INT, SOCK_PTR]),
    "early_setup": (0, []),
    "copy_array": (INT, [INT, SOCK_PTR, INT]),
    "alike": (INT, [INT]),
}
NAMESAKES = [("copy_array", (INT, [INT] * 5)), ("alike", (INT, [INT]))]


def btf_bytes(functions: Iterable[tuple[str, tuple[int, list[int]]]]) -> bytes:
    """A BTF file with int, struct sock, a pointer to it, a big struct, a wide integer, and these functions."""
    strings = bytearray(b"\0")

    def text(name: str) -> int:
        strings.extend(name.encode() + b"\0")
        return len(strings) - len(name) - 1

    def record(name: str, kind: int, vlen: int, word: int, *more: int) -> bytes:
        return struct.pack(f"<{3 + len(more)}I", text(name) if name else 0, kind << 24 | vlen, word, *more)

    types = [
        record("int", 1, 0, 4, 1 << 24 | 32),
        record("sock", 4, 0, 8),
        record("", 2, 0, SOCK),
        record("big", 4, 0, 24),
        record("wide", 1, 0, 16, 128),
    ]
    for name, (returned, params) in functions:
        types.append(record("", 13, len(params), returned, *(word for param in params for word in (0, param))))
        types.append(record(name, 12, 1, len(types)))
    body = b"".join(types)
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body), len(body), len(strings)) + body + bytes(strings)


def kallsyms_text(*, is_zeroed: bool = False) -> str:
    lines = []
    for line in SYMBOLS.strip().splitlines():
        offset, kind, name = line.split(" ", 2)
        address = 0 if is_zeroed or kind == "A" else BASE + int(offset, 16)
        lines.append(f"{address:016x} {kind} {name}\n")
    return "".join(lines)


def listed_names() -> list[tuple[int, str]]:
    """Call site and `name[ [module]]` of each traceable function; the first name where there are several."""
    listed = {}
    for line in SYMBOLS.strip().splitlines():
        offset, _, name = line.split(" ", 2)
        at = int(offset, 16)
        if at in CALLS and at not in listed:
            listed[at] = name.replace("\t", " ")
    return [(BASE + at + CALLS[at], name) for at, name in sorted(listed.items())]


class Files:
    """The kernel's files, and kernels made from them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.write("kallsyms", kallsyms_text())
        self.write("zeroed", kallsyms_text(is_zeroed=True))
        self.write("addrs", "".join(f"{at:016x} {name}\n" for at, name in listed_names()))
        self.write("names", "".join(f"{name}\n" for _, name in listed_names()))
        self.write("blacklist", f"{BASE + 0x1200:#018x}-{BASE + 0x1240:#018x}\tnoprobe\n")
        (directory / "btf").write_bytes(btf_bytes([*TYPES.items(), *NAMESAKES]))

    def write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)

    def kernel(self, kallsyms: str = "kallsyms", available: str | None = "addrs", btf: str | None = "btf") -> Kernel:
        path = self.directory
        return Kernel.from_files(
            kallsyms=str(path / kallsyms),
            available=available and str(path / available),
            btf=btf and str(path / btf),
            blacklist=str(path / "blacklist"),
            release="test",
        )

    def root(self) -> Path:
        """A file system root for `Kernel(root=…)`, as if this kernel were running."""
        root = self.directory / "root"
        for place, name in {
            "proc/kallsyms": "kallsyms",
            "sys/kernel/tracing/available_filter_functions_addrs": "addrs",
            "sys/kernel/btf/vmlinux": "btf",
        }.items():
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            (root / place).write_bytes((self.directory / name).read_bytes())
        (root / "sys/kernel/tracing/README").touch()
        (root / "proc/sys/kernel/random").mkdir(parents=True)
        (root / "proc/sys/kernel/random/boot_id").write_text("11111111-2222\n")
        (root / "proc/modules").write_text("nf_tables 300 1 - Live 0xffffffff82000000\n")
        return root

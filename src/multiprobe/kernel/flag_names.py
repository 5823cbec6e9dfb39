"""Names of numbers: open flags, file modes, memory protection, address families, gfp_t; and network byte order.

The table for a value follows from its typedef, its name, or the system call whose argument it is. The tables are those
of the kernel's user-space headers (include/uapi), whose numbers never change; the O_ flags in which architectures
differ are in `arch`; FMODE_ is include/linux/fs.h. gfp_t changes between kernels: its names come from a tracing event's
format, which `load_gfp` reads from tracefs.
"""

from __future__ import annotations

import ast
import os
import re
from operator import itemgetter
from socket import AF_INET6, inet_ntop
from typing import TYPE_CHECKING

from multiprobe.arch import X86_64, find

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from multiprobe.arch.facts import Arch

GFP_FORMAT = "/sys/kernel/tracing/events/kmem/mm_page_alloc/format"
_GFP_ITEM = re.compile(r'\{\s*([^{}"]+?),\s*"(\w+)"\s*\}')
_CASTS = re.compile(r"\( *(?:unsigned long|gfp_t)\)")
_ALL = (1 << 64) - 1

_ACCESS = ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE")
_FILE_TYPES = {
    0o010000: "S_IFIFO", 0o020000: "S_IFCHR", 0o040000: "S_IFDIR", 0o060000: "S_IFBLK", 0o100000: "S_IFREG",
    0o120000: "S_IFLNK", 0o140000: "S_IFSOCK",
}  # fmt: skip

_OPEN = {
    "O_CREAT": 0o100, "O_EXCL": 0o200, "O_NOCTTY": 0o400, "O_TRUNC": 0o1000, "O_APPEND": 0o2000, "O_NONBLOCK": 0o4000,
    "O_DSYNC": 0o10000, "O_ASYNC": 0o20000, "O_NOATIME": 0o1000000, "O_CLOEXEC": 0o2000000, "O_PATH": 0o10000000,
}  # fmt: skip


def open_flags(arch: Arch) -> dict[int, str]:
    """The O_ flags of an architecture, in the order of their values, the masks of two bits first."""
    values = {**_OPEN, **arch.open_flags}
    both = {0o20000000 | values["O_DIRECTORY"]: "O_TMPFILE", 0o4000000 | values["O_DSYNC"]: "O_SYNC"}
    return both | {value: name for name, value in sorted(values.items(), key=itemgetter(1))}


FLAGS: dict[str, dict[int, str]] = {
    "open": open_flags(find(os.uname().machine) or X86_64),  # asm-generic has the values of x86-64
    "fmode": {
        0x1: "FMODE_READ", 0x2: "FMODE_WRITE", 0x4: "FMODE_LSEEK", 0x8: "FMODE_PREAD", 0x10: "FMODE_PWRITE",
        0x20: "FMODE_EXEC",
    },
    "prot": {1: "PROT_READ", 2: "PROT_WRITE", 4: "PROT_EXEC"},
    "mmap": {
        0x3: "MAP_SHARED_VALIDATE", 0x1: "MAP_SHARED", 0x2: "MAP_PRIVATE", 0x10: "MAP_FIXED", 0x20: "MAP_ANONYMOUS",
        0x100: "MAP_GROWSDOWN", 0x800: "MAP_DENYWRITE", 0x2000: "MAP_LOCKED", 0x4000: "MAP_NORESERVE",
        0x8000: "MAP_POPULATE", 0x10000: "MAP_NONBLOCK", 0x20000: "MAP_STACK", 0x40000: "MAP_HUGETLB",
        0x100000: "MAP_FIXED_NOREPLACE",
    },
    "message": {
        0x1: "MSG_OOB", 0x2: "MSG_PEEK", 0x4: "MSG_DONTROUTE", 0x20: "MSG_TRUNC", 0x40: "MSG_DONTWAIT",
        0x80: "MSG_EOR", 0x100: "MSG_WAITALL", 0x4000: "MSG_NOSIGNAL", 0x8000: "MSG_MORE", 0x4000000: "MSG_ZEROCOPY",
        0x20000000: "MSG_FASTOPEN", 0x40000000: "MSG_CMSG_CLOEXEC",
    },
    "at": {0x100: "AT_SYMLINK_NOFOLLOW", 0x400: "AT_SYMLINK_FOLLOW", 0x800: "AT_NO_AUTOMOUNT", 0x1000: "AT_EMPTY_PATH"},
}  # fmt: skip
"""Bits, the masks of several bits before those that they hold."""

CHOICES: dict[str, dict[int, str]] = {
    "family": {
        0: "AF_UNSPEC", 1: "AF_UNIX", 2: "AF_INET", 10: "AF_INET6", 16: "AF_NETLINK", 17: "AF_PACKET", 38: "AF_ALG",
        40: "AF_VSOCK", 44: "AF_XDP",
    },
    "tcp_state": dict(
        enumerate(
            ("TCP_ESTABLISHED", "TCP_SYN_SENT", "TCP_SYN_RECV", "TCP_FIN_WAIT1", "TCP_FIN_WAIT2", "TCP_TIME_WAIT",
             "TCP_CLOSE", "TCP_CLOSE_WAIT", "TCP_LAST_ACK", "TCP_LISTEN", "TCP_CLOSING", "TCP_NEW_SYN_RECV"),
            start=1,
        )
    ),
    "whence": {0: "SEEK_SET", 1: "SEEK_CUR", 2: "SEEK_END", 3: "SEEK_DATA", 4: "SEEK_HOLE"},
    "protocol": {0x800: "ETH_P_IP", 0x806: "ETH_P_ARP", 0x8100: "ETH_P_8021Q", 0x86DD: "ETH_P_IPV6"},
}  # fmt: skip
"""Numbers of which each has one name."""

_BY_TYPEDEF = {
    "gfp_t": "gfp", "umode_t": "mode", "mode_t": "mode", "fmode_t": "fmode", "sa_family_t": "family",
    "__kernel_sa_family_t": "family",
}  # fmt: skip
_BY_NAME = {
    "f_flags": "open", "open_flag": "open", "open_flags": "open", "o_flags": "open", "skc_family": "family",
    "sk_family": "family", "skc_state": "tcp_state", "sk_state": "tcp_state", "whence": "whence",
    "msg_flags": "message",
}  # fmt: skip
_OF_SYSTEM_CALLS = {
    ("open", "flags"): "open", ("openat", "flags"): "open", ("pipe2", "flags"): "open", ("dup3", "flags"): "open",
    ("mmap", "prot"): "prot", ("mmap", "flags"): "mmap", ("mprotect", "prot"): "prot", ("socket", "family"): "family",
    ("socketpair", "family"): "family", ("sendto", "flags"): "message", ("recvfrom", "flags"): "message",
    ("sendmsg", "flags"): "message", ("recvmsg", "flags"): "message", ("newfstatat", "flag"): "at",
    ("statx", "flags"): "at", ("unlinkat", "flag"): "at", ("linkat", "flags"): "at", ("lseek", "whence"): "whence",
}  # fmt: skip


def table_of(name: str, typedefs: Iterable[str], *, call: str = "") -> str:
    """Which table a value belongs to, or "": by its typedefs, its own name, or the system call that takes it."""
    for typedef in typedefs:
        if typedef in _BY_TYPEDEF:
            return _BY_TYPEDEF[typedef]
    return _OF_SYSTEM_CALLS.get((call, name), "") or _BY_NAME.get(name, "")


def spell(table: str, number: int) -> str | int:
    """A number (not negative) as names of a table of this room: `O_WRONLY|O_CREAT`, `S_IFREG|0644`, `AF_INET`.

    Bits without a name are added in hexadecimal; a number without a name stays a number.
    """
    if table == "mode":
        kind, rest = _FILE_TYPES.get(number & 0o170000), number & 0o7777
        return f"{kind}|{rest:04o}" if kind else f"{number:04o}"
    if table == "open":
        rest = number & ~3
        return _ACCESS[number & 3] + (f"|{spell_flags(rest, FLAGS[table])}" if rest else "")
    if table in CHOICES:
        return CHOICES[table].get(number, number)
    return spell_flags(number, FLAGS[table])


def spell_flags(number: int, names: Mapping[int, str]) -> str | int:
    """`A|B|0x40`: the masks that `number` holds all bits of, in their order, and what is left; 0 is a number."""
    found, rest = [], number
    for mask, name in names.items():
        if mask and rest & mask == mask:
            found.append(name)
            rest &= ~mask
    if rest:
        found.append(f"{rest:#x}")
    return "|".join(found) if found else number


def spell_enum(number: int, names: Mapping[int, str]) -> str | int:
    """An enum's constant; several that are OR-ed as A|B, if all bits are constants of one bit; else the number."""
    known = names.get(number)
    if known is not None or number <= 0:
        return number if known is None else known
    bits = {value: name for value, name in names.items() if value > 0 and not value & (value - 1)}
    is_whole = number.bit_count() > 1 and not number & ~sum(bits)
    return spell_flags(number, dict(sorted(bits.items()))) if is_whole else number


def swap(number: int, size: int) -> int:
    """The bytes of a number turned round: network order to that of this machine."""
    return int.from_bytes(number.to_bytes(size, "little"), "big")


def spell_address(content: bytes) -> str:
    """An address of the internet, of 4 or 16 bytes, in network order."""
    if len(content) == 4:
        return ".".join(map(str, content))
    return inet_ntop(AF_INET6, content)


def parse_gfp(text: str) -> dict[int, str]:
    """The names of gfp_t's masks, in the order in which the kernel looks for them, from an event's format."""
    found: dict[int, str] = {}
    for expression, name in _GFP_ITEM.findall(text):
        plain = re.sub(r"\b(0[xX][0-9a-fA-F]+|\d+)[uUlL]+\b", r"\1", _CASTS.sub("", expression))
        try:
            number = _evaluated(ast.parse(plain.strip(), mode="eval").body)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        found.setdefault(number & 0xFFFFFFFF, name)
    return found


def _evaluated(node: ast.expr) -> int:
    """The value of an expression of numbers, | & ~ and <<, in 64 bits. Raises ValueError for any other."""
    match node:
        case ast.Constant(value=int(number)):
            return number & _ALL
        case ast.UnaryOp(op=ast.Invert(), operand=operand):
            return ~_evaluated(operand) & _ALL
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _evaluated(left) | _evaluated(right)
        case ast.BinOp(left=left, op=ast.BitAnd(), right=right):
            return _evaluated(left) & _evaluated(right)
        case ast.BinOp(left=left, op=ast.LShift(), right=right):
            return _evaluated(left) << min(_evaluated(right), 64) & _ALL
    raise ValueError(f"not an expression of masks: {ast.dump(node)}")


def load_gfp() -> dict[int, str]:
    """The running kernel's; empty where tracefs doesn't tell them."""
    try:
        with open(GFP_FORMAT, encoding="ascii", errors="replace") as file:
            return parse_gfp(file.read())
    except OSError:
        return {}

from __future__ import annotations

import mmap
import os
import socket
import stat

import pytest

from multiprobe.kernel import flag_names
from multiprobe.kernel.btf.values import ValueType

# As 6.1 and 7.3 write them, shortened.
GFP = """\
print fmt: "%s", (REC->gfp_flags) ? __print_flags(REC->gfp_flags, "|",
{( unsigned long)((( gfp_t)(0x400u|0x800u)) | (( gfp_t)0x40u) | (( gfp_t)0x80u)), "GFP_KERNEL"},
{( unsigned long)(( gfp_t)((((1UL))) << (8))), "__GFP_ZERO"},
{( unsigned long)((( gfp_t)(0x400u|0x800u)) & ~(( gfp_t)0x400u)), "GFP_NOWAIT"},
{( unsigned long)(( gfp_t)FOO), "GFP_FOO"}, {( unsigned long)(( gfp_t)(1 <<)), "GFP_BROKEN"},
{ 0, ((void *)0) } ) : "none"
"""


def test_open_flags_are_those_of_the_system() -> None:
    for mask, name in flag_names.FLAGS["open"].items():
        if name != "O_LARGEFILE":  # 0 for programs of 64 bits, but set by the kernel
            assert getattr(os, name) == mask, name
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    assert flag_names.spell("open", flags) == "O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC"
    assert flag_names.spell("open", 0) == "O_RDONLY"
    assert flag_names.spell("open", os.O_RDWR | 1 << 30) == "O_RDWR|0x40000000"
    assert flag_names.spell("open", os.O_TMPFILE | os.O_RDWR) == "O_RDWR|O_TMPFILE"
    assert flag_names.spell("open", os.O_SYNC) == "O_RDONLY|O_SYNC"


@pytest.mark.parametrize(("table", "module"), [("prot", mmap), ("mmap", mmap), ("message", socket), ("family", socket)])
def test_tables_are_those_of_the_system(table: str, module: object) -> None:
    names = flag_names.FLAGS.get(table) or flag_names.CHOICES[table]
    known = {name: number for number, name in names.items() if hasattr(module, name)}
    assert len(known) >= 3
    assert known == {name: int(getattr(module, name)) for name in known}


@pytest.mark.parametrize(
    ("table", "number", "text"),
    [
        ("mode", stat.S_IFREG | 0o644, "S_IFREG|0644"),
        ("mode", 0o755, "0755"),
        ("mode", stat.S_IFDIR | stat.S_ISVTX | 0o777, "S_IFDIR|1777"),
        ("fmode", 0x3, "FMODE_READ|FMODE_WRITE"),
        ("fmode", 0x80000001, "FMODE_READ|0x80000000"),
        ("family", 10, "AF_INET6"),
        ("family", 99, 99),
        ("tcp_state", 10, "TCP_LISTEN"),
        ("prot", 0, 0),
        ("whence", 2, "SEEK_END"),
    ],
)
def test_numbers_by_name(table: str, number: int, text: str | int) -> None:
    assert flag_names.spell(table, number) == text
    assert ValueType("unsigned", 32, table=table).read(number | 0xDEAD << 32) == text


def test_which_table() -> None:
    assert flag_names.table_of("anything", ["umode_t", "short"]) == "mode"
    assert flag_names.table_of("flags", [], call="openat") == "open"
    assert flag_names.table_of("flags", []) == ""
    assert flag_names.table_of("f_flags", ["u32"]) == "open"


def test_enums_of_bits() -> None:
    names = {0: "NONE", 1: "A", 2: "B", 3: "BOTH_BITS", 8: "C"}
    assert flag_names.spell_enum(2, names) == "B"
    assert flag_names.spell_enum(3, names) == "BOTH_BITS"
    assert flag_names.spell_enum(9, names) == "A|C"
    assert flag_names.spell_enum(5, names) == 5, "4 is no constant"
    assert flag_names.spell_enum(-1, names) == -1
    assert ValueType("enum", 32, names).read(9) == "A|C"
    assert ValueType("enum", 32, names).read(0) == "NONE"


def test_gfp_from_a_tracing_event() -> None:
    names = flag_names.parse_gfp(GFP)
    assert names == {0xCC0: "GFP_KERNEL", 0x100: "__GFP_ZERO", 0x800: "GFP_NOWAIT"}
    assert flag_names.parse_gfp('{1u << (1 << 40), "A"}, {9 ** 9, "B"}, {~0u, "C"}, {true, "D"}, {1.0, "E"}') == {
        0: "A",
        0xFFFFFFFF: "C",
    }
    assert ValueType("flags", 32, names).read(0xDC0) == "GFP_KERNEL|__GFP_ZERO"
    assert ValueType("flags", 32, names).read(0x1000100) == "__GFP_ZERO|0x1000000"
    assert ValueType("flags", 32, {}).read(0xCC0) == "0xcc0"


def test_network_order() -> None:
    assert ValueType("big", 16).read(0x5000) == 80
    assert ValueType("big", 16, table="protocol").read(0x0008) == "ETH_P_IP"
    assert ValueType("ipv4", 32).read(0x0100007F) == "127.0.0.1"
    assert ValueType("ipv6", 128).read(1 << 120) == "::1"


def test_readers_read_the_same() -> None:
    for type_ in (
        ValueType("int", 32), ValueType("int", 64), ValueType("unsigned", 16), ValueType("pointer"), ValueType("bool"),
        ValueType("raw"), ValueType("enum", 32, {1: "A"}), ValueType("unsigned", 32, table="open"),
        ValueType("big", 32),
    ):  # fmt: skip
        for raw in (0, 1, 0x80, 0x8000, 0x80000000, 0xFFFFFFFF, 1 << 63, (1 << 64) - 1):
            assert type_.reader()(raw) == type_.read(raw), (type_, raw)

"""Core files: made here, whole, cut off, and hostile. Structures and tables found in made-up memory."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from multiprobe.elf import Segment
from multiprobe.errors import DataError, NotSupportedError
from multiprobe.inspect import ops
from multiprobe.inspect.memory import KernelMemory
from multiprobe.inspect.names import Names
from multiprobe.inspect.objects import Layouts, Objects
from multiprobe.kernel.symbols import parse_kallsyms

HEADER, WIDTH = 64, 56


def core(parts: dict[int, bytes], *, table: int = HEADER, count: int | None = None) -> bytes:
    """A core file with these pieces of memory."""
    n = len(parts) + 1 if count is None else count
    data_at = table + WIDTH * (len(parts) + 1)
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 4, 62, 1, 0, table, 0, 0, HEADER, WIDTH, n, 0, 0, 0)
    head = head.ljust(table, b"\0") + struct.pack("<IIQQQQQQ", 4, 0, data_at, 0, 0, 0, 0, 0)  # a note
    body = b""
    for address, data in parts.items():
        head += struct.pack("<IIQQQQQQ", 1, 7, data_at + len(body), address, 0, len(data), len(data), 4096)
        body += data
    return head + body


TEXT = 0xFFFFFFFF81000000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kcore"


def test_memory_is_read_where_it_is(path: Path) -> None:
    path.write_bytes(core({TEXT: b"0123456789", 0xFF11000000000000: b"abc\0def\0"}))
    with KernelMemory(str(path)) as memory:
        assert memory.read(TEXT + 2, 4) == b"2345"
        assert memory.read(TEXT + 8, 4) is None
        assert memory.read(TEXT, 0) is None
        assert memory.read(0x1000, 1) is None
        assert memory.number(TEXT, 2) == 0x3130
        assert memory.number(TEXT + 20) is None
        assert memory.text(0xFF11000000000000, 8) == "abc"


def test_headers_far_into_the_file(path: Path) -> None:
    path.write_bytes(core({TEXT: b"x" * 8}, table=4000))
    with KernelMemory(str(path)) as memory:
        assert memory.segments == (Segment(1, 4000 + 2 * WIDTH, TEXT, 8, 7),)


def test_memory_that_a_cut_off_file_lacks_is_missing(path: Path) -> None:
    path.write_bytes(core({TEXT: b"0123456789"})[:-5])
    with KernelMemory(str(path)) as memory:
        assert memory.read(TEXT, 10) is None
        assert memory.read(TEXT, 5) == b"01234"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a 64-bit"),
        (b"\x7fELF\x01\x01" + bytes(64), "not a 64-bit"),
        (core({TEXT: b"x"})[:100], "cut off"),
        (core({TEXT: b"x"}, count=60000), "60000 program headers"),
    ],
)
def test_what_is_no_core_file(path: Path, data: bytes, message: str) -> None:
    path.write_bytes(data)
    with pytest.raises(DataError, match=message):
        KernelMemory(str(path))


def test_no_file_at_all(path: Path) -> None:
    with pytest.raises(NotSupportedError, match="ENOENT"):
        KernelMemory(str(path))


# Structures


class Offsets(Layouts):
    """Layouts without BTF."""

    def __init__(self, offsets: dict[tuple[str, str], int]) -> None:
        self._offsets = offsets

    def offset(self, structure: str, path: str) -> int | None:
        return self._offsets.get((structure, path))


OFFSETS = Offsets(
    {
        ("idr", "idr_rt.xa_head"): 8,
        ("idr", "idr_base"): 16,
        ("xa_node", "slots"): 40,
        ("xa_node", "shift"): 0,
        ("bpf_link", "id"): 8,
        ("bpf_kprobe_multi_link", "fp.entry_handler"): 100,
        ("bpf_kprobe_multi_link", "fp.exit_handler"): 108,
        ("bpf_tracing_link", "link.cookie"): 48,
        ("bpf_uprobe_multi_link", "link"): 16,
        ("bpf_uprobe_multi_link", "uprobes"): 112,
        ("bpf_uprobe", "session"): 88,
        ("ftrace_ops", "func"): 0,
        ("ftrace_ops", "next"): 8,
        ("ftrace_ops", "func_hash"): 16,
        ("ftrace_ops", "trampoline"): 24,
        ("ftrace_ops_hash", "filter_hash"): 0,
        ("ftrace_ops_hash", "notrace_hash"): 8,
        ("ftrace_hash", "size_bits"): 0,
        ("ftrace_hash", "count"): 8,
        ("ftrace_hash", "buckets"): 16,
        ("ftrace_func_entry", "ip"): 16,
        ("ftrace_func_entry", "direct"): 24,
    }
)
SYMBOLS = parse_kallsyms(
    b"""ffffffff81000000 T first
ffffffff81000100 T __pfx_kprobe_ftrace_handler
ffffffff81000110 t kprobe_ftrace_handler
ffffffff81000200 t call_direct_funcs
ffffffff82000000 d link_idr
ffffffff82000100 d ftrace_ops_list
ffffffff82000108 d ftrace_list_end
ffffffff82000200 d direct_functions
ffffffff82000300 d twice
ffffffff82000308 d twice
"""
)
BASE = 0xFFFFFFFF82000000


class Writer:
    """A piece of memory, written word by word."""

    def __init__(self) -> None:
        self.data = bytearray(1 << 14)

    def put(self, address: int, *words: int) -> None:
        struct.pack_into(f"<{len(words)}Q", self.data, address - BASE, *words)

    def objects(self, path: Path) -> Objects:
        path.write_bytes(core({BASE: bytes(self.data)}))
        return Objects(OFFSETS, KernelMemory(str(path)), Names(SYMBOLS))


def test_an_object_is_found_by_its_id_through_a_tree(path: Path) -> None:
    writer = Writer()
    root, leaf, link = BASE + 0x1000, BASE + 0x2000, BASE + 0x3000
    writer.put(BASE, 0, root | 2, 1)  # idr_base 1
    writer.put(root, 6)  # shift 6
    writer.put(root + 40 + 8 * 1, leaf | 2)  # slots[1]: ids 65 …
    writer.put(leaf, 0)
    writer.put(leaf + 40 + 8 * 3, link)
    writer.put(link + 8, 64 + 3 + 1)
    writer.put(link + 48, 4711)
    writer.put(link + 100, 1, 0)
    objects = writer.objects(path)
    with objects.memory:
        assert objects.link(68) == link
        assert objects.trampoline_cookie(68) == 4711
        assert objects.is_session(68) is False
        assert objects.perf_cookie(68) is None
        assert objects.link(67) is None
        assert objects.is_session(5) is None


@pytest.mark.parametrize("is_session", [False, True])
def test_sessions_of_uprobes(path: Path, is_session: bool) -> None:
    """The link is not the first member of its structure."""
    writer = Writer()
    outer, uprobes = BASE + 0x1000, BASE + 0x2000
    writer.put(BASE, 0, outer + 16, 1)
    writer.put(outer + 16 + 8, 1)
    writer.put(outer + 112, uprobes)
    writer.put(uprobes + 88, is_session)
    objects = writer.objects(path)
    with objects.memory:
        assert objects.is_uprobe_session(1) is is_session
        assert objects.is_uprobe_session(2) is None


def test_a_link_with_another_id_is_not_believed(path: Path) -> None:
    writer = Writer()
    link = BASE + 0x1000
    writer.put(BASE, 0, link, 1)
    writer.put(link + 8, 9)
    objects = writer.objects(path)
    with objects.memory:
        assert objects.by_id("link_idr", 1) == link
        assert objects.link(1) is None


def place(site: int, bits: int) -> int:
    """hash_64, written down another way than in the code under test."""
    return (site * 0x61C8864680B583EB % (1 << 64)) // (1 << (64 - bits))


@pytest.mark.parametrize("bits", [1, 4])
def test_ops_on_a_call_site(path: Path, bits: int) -> None:
    writer = Writer()
    site, other = 0xFFFFFFFF81000004, 0xFFFFFFFF81000204
    probes, direct = BASE + 0x400, BASE + 0x500
    writer.put(BASE + 0x100, probes)
    writer.put(probes, 0xFFFFFFFF81000110, direct, BASE + 0x600, 0xFFFFFFFFC0000000)
    writer.put(direct, 0xFFFFFFFF81000200, BASE + 0x108, BASE + 0x700)
    writer.put(BASE + 0x600, BASE + 0x800)  # its filter
    writer.put(BASE + 0x700, BASE + 0x900)
    for table, entry, of in ((BASE + 0x800, BASE + 0xA00, site), (BASE + 0x900, BASE + 0xB00, other)):
        buckets = entry + 0x40
        writer.put(table, bits, 1, buckets)
        writer.put(buckets + 8 * place(of, bits), entry)
        writer.put(entry, 0, 0, of)
    # direct_functions: the entry sought is the second of its chain
    writer.put(BASE + 0x200, BASE + 0xC00)
    writer.put(BASE + 0xC00, bits, 2, BASE + 0xD00)
    writer.put(BASE + 0xD00 + 8 * place(site, bits), BASE + 0xE00)
    writer.put(BASE + 0xE00, BASE + 0xE80, 0, 1, 2)
    writer.put(BASE + 0xE80, 0, 0, site, 0xFFFFFFFFC0200D80)
    objects = writer.objects(path)
    with objects.memory:
        assert [found.function for found in ops.all_ops(objects) or ()] == [
            "kprobe_ftrace_handler",
            "call_direct_funcs",
        ]
        (found,) = ops.ops_on(objects, site) or ()
        assert (found.function, found.owner, found.trampoline) == (
            "kprobe_ftrace_handler",
            "single kprobes",
            0xFFFFFFFFC0000000,
        )
        assert ops.direct_target(objects, site) == 0xFFFFFFFFC0200D80
        assert ops.direct_target(objects, other) is None


def test_ops_without_a_filter_are_everywhere_but_where_they_must_not_be(path: Path) -> None:
    writer = Writer()
    site = 0xFFFFFFFF81000004
    everywhere = BASE + 0x400
    writer.put(BASE + 0x100, everywhere)
    writer.put(everywhere, 0xFFFFFFFF81000110, BASE + 0x108, BASE + 0x600)
    writer.put(BASE + 0x600, BASE + 0x800, BASE + 0x900)
    writer.put(BASE + 0x900, 0, 1, BASE + 0xA00)  # notrace: one bucket
    writer.put(BASE + 0xA00, BASE + 0xB00)
    writer.put(BASE + 0xB00, 0, 0, site)
    objects = writer.objects(path)
    with objects.memory:
        assert ops.ops_on(objects, site) == ()
        assert len(ops.ops_on(objects, site + 16) or ()) == 1


def test_names_by_address_and_addresses_by_name() -> None:
    names = Names(SYMBOLS)
    at = names.at(0xFFFFFFFF81000114)
    assert at is not None
    assert (at.name, at.address, at.end) == ("kprobe_ftrace_handler", 0xFFFFFFFF81000110, 0xFFFFFFFF81000200)
    assert names.at(0x1000) is None
    assert names.at(0xFFFFFFFF81000200 + (1 << 20) + 1) is None
    assert [symbol.address for symbol in names.named("first")] == [0xFFFFFFFF81000000]
    assert names.named("irst") == []
    assert names.named("link_idr") == []  # data
    assert names.data("link_idr") == BASE
    assert names.data("twice") is None
    assert [symbol and symbol.name for symbol in names.each_at([0, 0xFFFFFFFF81000000])] == [None, "first"]


def test_of_symbols_at_one_address_the_function_is_named() -> None:
    names = Names(
        parse_kallsyms(
            b"ffffffff81000000 t __pfx_a\nffffffff81000000 t a\nffffffff81000000 t b\nffffffffc0001000 t c\t[m]\n"
        )
    )
    found = names.at(0xFFFFFFFF81000000)
    assert found is not None
    assert found.name == "a"
    assert [str(symbol) for symbol in names.named("c", "m")] == ["c [m]"]
    assert names.named("c", "") == []

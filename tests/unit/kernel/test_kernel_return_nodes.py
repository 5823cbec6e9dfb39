"""Return nodes of fprobe: which kernels have them, and how much memory they are."""

from __future__ import annotations

import pytest
from btf_writer import BtfWriter

from multiprobe.kernel.btf.format import parse_sections
from multiprobe.kernel.btf.records import TypeRecords
from multiprobe.kernel.memory import kernel_bytes_used, parse_meminfo
from multiprobe.kernel.return_nodes import ReturnNodes, find_return_nodes, parse_return_nodes

RINGS, LIST = ReturnNodes(64, has_rings=True), ReturnNodes(64, has_rings=False)
OLD = {b"fprobe_exit_handler", b"objpool_init", b"vfs_read"}


def types(*, member: str = "rethook", pool: str = "objpool_head", size: int = 80) -> TypeRecords:
    writer = BtfWriter()
    long = writer.signed("long", 8)
    head = writer.struct(pool, 64)
    hook = writer.struct("rethook", 128, ("data", long, 0), ("pool", writer.add("const", target=head), 64))
    writer.struct("fprobe", 200, ("nmissed", long, 0), (member, writer.pointer(hook), 64))
    writer.struct("fprobe_rethook_node", size, ("node", long, 0))
    return TypeRecords(parse_sections(writer.data(), is_split=False), None)


def test_types_tell_the_form_and_the_size() -> None:
    assert find_return_nodes(types(), ()) == ReturnNodes(80, has_rings=True)
    assert find_return_nodes(types(pool="freelist_head"), OLD) == ReturnNodes(80, has_rings=False)


def test_types_without_a_pool_outweigh_symbols() -> None:
    assert find_return_nodes(types(member="hlist_array"), OLD) is None


@pytest.mark.parametrize("without", [None, "types of something else"])
def test_symbols_tell_it_where_types_do_not(without: str | None) -> None:
    writer = BtfWriter()
    writer.struct("sock", 8)
    records = TypeRecords(parse_sections(writer.data(), is_split=False), None) if without else None
    assert find_return_nodes(records, OLD) == RINGS
    assert find_return_nodes(records, OLD - {b"objpool_init"}) == LIST
    assert find_return_nodes(records, {b"fprobe_return", b"objpool_init"}) is None, "objpool has other users"


@pytest.mark.parametrize("nodes", [RINGS, LIST, ReturnNodes(72, has_rings=True)])
def test_the_text_in_the_table_is_read_back(nodes: ReturnNodes) -> None:
    assert parse_return_nodes(str(nodes)) == nodes
    assert parse_return_nodes("") is None


@pytest.mark.parametrize(
    ("n", "when", "n_cpus", "expected"),
    [
        (40_452, "return", 32, 1_239_547_904),  # measured on 6.12: 1.28 GB, the maps' 39 MB included
        (40_452, "return", 4, 37_502_976),  # measured on 6.12: 37,584,896
        (40_452, "session", 4, 40_091_648),  # measured on 6.12: 40,173,568
        (1_000, "session", 4, 851_968),  # measured on 6.12: 851,968
        (1, "return", 1, 4096),
        (40_452, "entry", 32, 0),
        (0, "return", 32, 0),
    ],
)
def test_a_ring_for_each_cpu(n: int, when: str, n_cpus: int, expected: int) -> None:
    assert RINGS.bytes_for(n, when=when, n_cpus=n_cpus) == expected


def test_a_list_has_nodes_only() -> None:
    assert LIST.bytes_for(1000, when="return", n_cpus=4) == 2 * 1000 * 4 * 64
    assert LIST.bytes_for(1000, when="session", n_cpus=4) == 2 * 1000 * 4 * 96, "slabs of 96 hold 72 bytes"


def test_meminfo() -> None:
    text = "MemAvailable:    1000 kB\nVmallocUsed: 20 kB\nSUnreclaim: 3 kB\nPercpu: 4 kB\nHugePages_Total:       7\n"
    assert parse_meminfo(text) == {
        "MemAvailable": 1_024_000, "VmallocUsed": 20_480, "SUnreclaim": 3072, "Percpu": 4096,
    }  # fmt: skip
    assert kernel_bytes_used(parse_meminfo(text)) == 27 * 1024

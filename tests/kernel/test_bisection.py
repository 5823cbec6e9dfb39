"""Bisection on real kernels: functions that the kernel refuses are found, and the rest is attached in one link."""

from __future__ import annotations

import errno
from array import array
from collections.abc import Sequence

import pytest

import multiprobe as mp
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.mechanisms import batch
from multiprobe.links.mechanisms.kprobe_multi import open_link as open_kprobe_multi
from multiprobe.links.mechanisms.kprobe_multi import read_back
from multiprobe.links.mechanisms.link import Link
from multiprobe.links.mechanisms.linked import Linked
from multiprobe.links.mechanisms.tracing_multi import ATTACH_TYPES
from multiprobe.links.mechanisms.tracing_multi import open_link as open_tracing_multi
from multiprobe.syscalls import bpf
from multiprobe.uapi.bpf import AttachType, ProgType

RETURN_0 = bytes([0xB7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])
N = 2000


@pytest.fixture(scope="module")
def kernel() -> mp.Kernel:
    return mp.Kernel()


def test_addresses_that_kprobe_multi_refuses(kernel: mp.Kernel) -> None:
    if not kernel.has("kprobe_multi"):
        pytest.skip("this kernel has no kprobe.multi")
    good = kernel.functions("vmlinux:*").attachable(Mechanism.KPROBE_MULTI).take(range(N)).addresses()
    bad = {good[place] + 9: place for place in (0, N // 3, N - 1)}  # inside functions
    addresses = array("Q", sorted([*good, *bad]))
    prog = bpf.prog_load(ProgType.KPROBE, RETURN_0, name="empty", expected_attach_type=AttachType.TRACE_KPROBE_MULTI)

    def open_part(places: Sequence[int]) -> Link:
        chosen = array("Q", [addresses[place] for place in places])
        return Link(open_kprobe_multi(prog, chosen, None, when="entry"), Mechanism.KPROBE_MULTI, places)

    linked = Linked(Mechanism.KPROBE_MULTI)
    batch.attach_batch(open_part, range(len(addresses)), linked, indices=range(len(addresses)))
    links, culprits = linked.links, linked.refused
    try:
        assert {addresses[place] for place in culprits} == set(bad)
        assert set(culprits.values()) <= {errno.ENOENT, errno.EINVAL}
        assert len(links) == 1
        answer = read_back(links[0].fd, N)
        assert answer is not None
        assert sorted(answer[0]) == sorted(good)
    finally:
        for owner in (*links, prog):
            owner.close()


def test_functions_that_tracing_multi_denies(kernel: mp.Kernel) -> None:
    if not kernel.has("tracing_multi"):
        pytest.skip("this kernel has no tracing_multi")
    table = kernel.table
    denied = [table.btf_ids[row] for name in ("migrate_disable", "migrate_enable") for row in table.rows_of_name(name)]
    denied = [type_id for type_id in denied if type_id]
    assert denied
    chosen = kernel.functions("vmlinux:vfs_*", "vmlinux:tcp_*").attachable(Mechanism.TRACING_MULTI)
    ids = [*chosen.btf_ids(), *denied]
    prog = bpf.prog_load(ProgType.TRACING, RETURN_0, name="empty", expected_attach_type=ATTACH_TYPES["entry"])

    def open_part(places: Sequence[int]) -> Link:
        fd = open_tracing_multi(prog, [ids[place] for place in places], None, when="entry")
        return Link(fd, Mechanism.TRACING_MULTI, places)

    linked = Linked(Mechanism.TRACING_MULTI)
    batch.attach_batch(open_part, range(len(ids)), linked, indices=range(len(ids)))
    links, culprits = linked.links, linked.refused
    try:
        assert {ids[place]: number for place, number in culprits.items()} == dict.fromkeys(denied, errno.EINVAL)
        assert len(links) == 1
    finally:
        for owner in (*links, prog):
            owner.close()

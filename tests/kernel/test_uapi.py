"""The kernel's constants, as we write them down, against its own BTF."""

from __future__ import annotations

import pytest

import multiprobe as mp
from multiprobe.uapi import bpf

ENUMS = [
    (bpf.Cmd, "bpf_cmd", "BPF_"),
    (bpf.MapType, "bpf_map_type", "BPF_MAP_TYPE_"),
    (bpf.ProgType, "bpf_prog_type", "BPF_PROG_TYPE_"),
    (bpf.AttachType, "bpf_attach_type", "BPF_"),
    (bpf.LinkType, "bpf_link_type", "BPF_LINK_TYPE_"),
    (bpf.PerfEventLinkType, "bpf_perf_event_type", "BPF_PERF_EVENT_"),
    (bpf.FuncId, "bpf_func_id", "BPF_FUNC_"),
]
SINCE_6_1 = {"MAP_CREATE", "HASH", "KPROBE", "TRACE_KPROBE_MULTI", "KPROBE_MULTI", "GET_FUNC_IP"}


@pytest.fixture(scope="module")
def kernel() -> mp.Kernel:
    return mp.Kernel()


@pytest.mark.parametrize(("ours", "enum", "prefix"), ENUMS, ids=[enum for _, enum, _ in ENUMS])
def test_constants(kernel: mp.Kernel, ours: type, enum: str, prefix: str) -> None:
    """A kernel may lack a newer constant (or, for perf events, the whole enum); what it has, it has with our number."""
    found = kernel.btf.type_ids(enum)
    theirs = {name.upper(): number for name, number in kernel.btf.enumerators(found[0]).items()} if found else {}
    known = {name: number for name, number in vars(ours).items() if name.isupper()}
    shared = {name: theirs[prefix + name] for name in known if prefix + name in theirs}
    assert shared == {name: known[name] for name in shared}
    assert not found or SINCE_6_1 & set(known) <= set(shared)
    assert found or enum == "bpf_perf_event_type"

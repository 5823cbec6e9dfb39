"""The kernel memory that links are predicted to take, beside what the kernel says that it allocated for them."""

from __future__ import annotations

import os
import time

import pytest
from turns import in_turn

import multiprobe as mp
from allocated import counts_maps, map_bytes, pool_bytes
from multiprobe.instruments import count
from multiprobe.instruments.errors.program import make_program
from multiprobe.instruments.graph.program import GraphProbe
from multiprobe.instruments.latency.program import LatencyProbe
from multiprobe.instruments.stacks.program import StacksProbe
from multiprobe.kernel.features import Features
from multiprobe.kernel.memory import kernel_bytes_used, load_meminfo
from multiprobe.kernel.return_nodes import parse_return_nodes
from multiprobe.maps.cpus import load_n_cpus

MANY, MOST = 10_000, 30_000
TRAMPOLINES = 3_000
QUIET_BYTES, QUIET_SECONDS = 1_000_000, 2.0


@mp.program
def empty(ctx):
    return


@pytest.fixture(scope="module")
def kernel() -> mp.Kernel:
    return mp.Kernel()


def settle() -> None:
    """Wait until the kernel gave back what was freed before: it does so late, a grace period or more after a detach."""
    used, since = kernel_bytes_used(load_meminfo()), time.monotonic()
    for _ in range(600):
        time.sleep(0.1)
        now = kernel_bytes_used(load_meminfo())
        if abs(now - used) > QUIET_BYTES:
            used, since = now, time.monotonic()
        elif time.monotonic() - since > QUIET_SECONDS:
            return
    raise AssertionError("the kernel's memory did not come to rest within a minute")


def choose(kernel: mp.Kernel, mechanism: mp.Mechanism, when: str, n: int, first: int = 0) -> mp.FunctionSet:
    """`n` functions that the mechanism carries, after the `first` ones."""
    found = kernel.functions("vmlinux:*")
    found = found.where(bytes(bool(mask & mechanism) for mask in found.mechanisms(when=when)))
    assert len(found) > first + n, f"this kernel has no {mechanism.label} for them"
    return found.take(range(first, first + n))


@pytest.mark.parametrize("when", ["return", "session"])
def test_return_nodes_take_what_is_predicted(kernel: mp.Kernel, when: str) -> None:
    if not kernel.has("kprobe_multi"):
        pytest.skip("this kernel has no kprobe.multi (CONFIG_FPROBE)")
    functions = choose(kernel, mp.Mechanism.KPROBE_MULTI, when, MANY)
    planned = mp.plan(functions, when=when, mechanisms="kprobe_multi").report.kernel_memory
    settle()
    before = pool_bytes()
    with mp.attach(empty, functions, when=when, mechanisms="kprobe_multi") as attachment:
        told = attachment.report.kernel_memory
        taken = pool_bytes() - before
    if parse_return_nodes(kernel.table.evidence["return_nodes"]) is None:
        assert (planned, told, taken) == ({}, {}, 0), "fprobe is on fgraph here, and has no pools"
        return
    assert planned["predicted"] == told["predicted"] > 2 * MANY * load_n_cpus() * 64
    assert planned["predicted"] == pytest.approx(taken, rel=0.02)
    assert told["taken"] == pytest.approx(taken, rel=0.25, abs=4e6), (
        "with everything else the kernel allocated meanwhile"
    )


def test_the_size_of_a_node_is_that_of_the_types(kernel: mp.Kernel) -> None:
    nodes = parse_return_nodes(kernel.table.evidence["return_nodes"])
    has_member = (
        any(member.name == "rethook" for member in mp.struct("fprobe", kernel=kernel).members)
        if (kernel.has("kprobe_multi"))
        else False
    )
    assert (nodes is not None) == has_member
    if nodes is not None:
        assert nodes.size == mp.struct("fprobe_rethook_node", kernel=kernel).size
        assert nodes.has_rings == bool(kernel.table.rows_of_name("objpool_init"))


@pytest.mark.parametrize("when", ["entry", "session"])
def test_trampolines_take_what_is_predicted(kernel: mp.Kernel, when: str) -> None:
    """Of a second attachment beside a first, which took up what slabs had left from earlier ones."""
    if not kernel.has("tracing_multi"):
        pytest.skip("this kernel has no tracing_multi")
    chosen = [choose(kernel, mp.Mechanism.TRACING_MULTI, when, TRAMPOLINES, first) for first in (0, TRAMPOLINES)]
    with mp.attach(empty, chosen[0], when=when, mechanisms="tracing_multi"):
        settle()
        with mp.attach(empty, chosen[1], when=when, mechanisms="tracing_multi") as attachment:
            told = attachment.report.kernel_memory
    assert told["predicted"] == pytest.approx(told["taken"], rel=0.25)


def test_more_than_the_limit_is_refused(kernel: mp.Kernel) -> None:
    mechanism = next((one for one in ("tracing_multi", "kprobe_multi") if kernel.has(one)), "")
    if not mechanism:
        pytest.skip("this kernel has no kprobe.multi")
    predicted = mp.plan("tcp_*", when="return", mechanisms=mechanism).report.kernel_memory
    if not predicted:
        assert parse_return_nodes(kernel.table.evidence["return_nodes"]) is None, "no pools: nothing to refuse"
        return
    with pytest.raises(mp.UsageError, match="MB of kernel memory, more than 0% of"):
        mp.attach(empty, "tcp_*", when="return", mechanisms=mechanism, limits=mp.Limits(max_memory=1e-6))
    limits = mp.Limits(max_memory=0)
    with mp.attach(empty, "tcp_*", when="return", mechanisms=mechanism, limits=limits) as attachment:
        assert attachment.report.kernel_memory["predicted"] == predicted["predicted"]


PROGRAMS = {
    "count": count.count,
    "latency": LatencyProbe().program,
    "latency --self": LatencyProbe(has_self=True).program,
    "latency --by process": LatencyProbe(by="process").program,
    "errors": make_program(),
    "graph": GraphProbe(max_events=50_000).program,
    "stacks": StacksProbe(has_user=True, is_timed=False, max_stacks=1 << 14).program,
}
WAYS = {
    "all processes": {},
    "not its own": {"own": False},
    "one process": {"pid": os.getpid(), "children": False},
    "its children, too": {"pid": os.getpid()},
    "replaceable": {"replaceable": True},
}
WITH_SESSIONS = ("6.12", "7.3")
CASES = [
    *((name, "all processes") for name in PROGRAMS),
    *((name, way) for name in ("count", "errors") for way in WAYS),
]


@pytest.mark.parametrize(("name", "way"), in_turn(dict.fromkeys(CASES), WITH_SESSIONS))
def test_all_maps_of_an_attachment_take_what_is_predicted(kernel: mp.Kernel, name: str, way: str) -> None:
    program, options = PROGRAMS[name], WAYS[way]
    when = program.when or "entry"
    needed = "kprobe_session" if when == "session" else "kprobe_multi"
    if not Features().probe(needed).is_yes:
        pytest.skip(f"this kernel has no {needed}")
    functions = choose(kernel, mp.Mechanism.KPROBE_MULTI, when, MOST if name == "count" else MANY)
    planned = mp.plan(functions, when=when, program=program, **options).report.kernel_memory["maps"]
    before = map_bytes()
    with mp.attach(program, functions, **options) as attachment:
        taken = sum(size for number, size in map_bytes().items() if number not in before)
        assert attachment.report.kernel_memory["maps"] == planned
    if counts_maps():
        assert planned == pytest.approx(taken, rel=0.02)

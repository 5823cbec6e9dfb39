"""Calls that the probe machinery makes itself are not counted as the kernel's, and programs don't hit their own."""

from __future__ import annotations

import os

import pytest

import multiprobe as mp
from multiprobe.instruments.latency import instrument as latency

N_CALLS, ROUNDS = 1_000, 3
CALLED = "__x64_sys_getppid"
#: What the machinery's own functions are called. (All functions of 6.12 and 7.3 were tried once: it takes minutes.)
CANDIDATES = ("trace", "probe", "fgraph", "bpf", "endbr", "preempt", "addr", "text", "lookup", "rethook", "shadow")

calls = mp.PerFunction(mp.u64)


@mp.program
def count(ctx):  # type: ignore[no-untyped-def]
    calls[ctx.function] += 1


def counts(functions: mp.FunctionSet, when: str) -> dict[str, int]:
    """Calls of each function while CALLED is called N_CALLS times: the least of ROUNDS, since much else runs too."""
    rounds = []
    with mp.attach(count, functions, when=when) as attachment:
        for _ in range(ROUNDS):
            before = {function.name: n for function, n in attachment.top(calls, len(functions))}
            for _ in range(N_CALLS):
                os.getppid()
            after = {function.name: n for function, n in attachment.top(calls, len(functions))}
            rounds.append({name: n - before.get(name, 0) for name, n in after.items()})
    return {name: min(one.get(name, 0) for one in rounds) for name in rounds[0]}


@pytest.mark.parametrize("when", ["entry", "return"])
def test_one_more_probed_function_adds_its_own_calls_only(when: str) -> None:
    kernel = mp.Kernel()
    others = kernel.functions(*(f"vmlinux:*{part}*" for part in CANDIDATES), f"!{CALLED}")
    if not kernel.has("kprobe_multi"):
        pytest.skip("this kernel has no kprobe_multi")
    without = counts(others, when)
    with_it = counts(others | kernel.functions(CALLED), when)
    grown = {name: n - without.get(name, 0) for name, n in with_it.items() if n - without.get(name, 0) > N_CALLS // 2}
    assert grown == {CALLED: pytest.approx(N_CALLS, abs=N_CALLS // 100)}


@pytest.mark.parametrize("mechanism", ["kprobe_multi", "tracing_multi"])
@pytest.mark.parametrize("by", [None, "process"])
def test_programs_do_not_hit_the_functions_that_they_call(mechanism: str, by: str | None) -> None:
    kernel = mp.Kernel()
    if not kernel.has(mechanism):
        pytest.skip(f"this kernel has no {mechanism}")
    typed = "__x64_sys_getsid"  # CALLED, which takes nothing, has no types: no trampoline fits it
    functions = kernel.functions("vmlinux:bpf_*", "vmlinux:htab_*", "vmlinux:*htab_map*", "vmlinux:lookup_*", typed)
    with latency.start(functions, by=by, mechanisms=mechanism) as timer:
        for _ in range(N_CALLS):
            os.getsid(0)
        sample = timer.finish()
        report = timer.report
    (row,) = (row for row in sample.rows if row.function.name == typed and row.calls >= N_CALLS)
    assert report.missed.get("recursion_misses", 0) + report.missed.get("link_misses", 0) < N_CALLS // 10, report
    left_out = [refusal.request for refusal in report.skipped if refusal.code == "own_call"]
    assert "bpf_ktime_get_ns" in left_out
    assert all(name.startswith("bpf_") for name in left_out)
    assert row.total > 0

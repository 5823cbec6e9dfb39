"""Calls that the probe machinery makes itself are not counted as the kernel's, and programs don't hit their own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import numpy as np
import pytest

import multiprobe as mp
from multiprobe.instruments.latency import instrument as latency

if TYPE_CHECKING:
    from multiprobe.compiler.program import Program

N_CALLS, ROUNDS = 1_000, 3
CALLED = "__x64_sys_getppid"
#: What the machinery's own functions are called. (All functions of 6.12 and 7.3 were tried once: it takes minutes.)
CANDIDATES = ("trace", "probe", "fgraph", "bpf", "endbr", "preempt", "addr", "text", "lookup", "rethook", "shadow")

#: Functions that serve BPF alone, among others. What walks a stack asks some whether an address is a program's; and
#: RCU calls some when a program has long ended.
SERVING = (
    "*bpf*", "*htab*", "*ringbuf*", "*_elem*", "*freelist*", "*_lru_*", "*pcpu_init*", "check_and_*", "*selem*",
    "*task_storage*", "*stackid*", "!*bpf_ksym*", "!*is_bpf_text_address*", "!bpf_has_frame_pointer", "!*_rcu",
)  # fmt: skip

calls = mp.PerFunction(mp.u64)


@mp.program
def count(ctx):  # type: ignore[no-untyped-def]
    calls[ctx.function] += 1


class Hit(mp.Event):
    name: Annotated[str, mp.string(16)]


hits = mp.RingBuffer(Hit)
n_hits = mp.Array(mp.u64, 1)
tasks = mp.PerTask(mp.u64)
traces = mp.StackTraces()
TABLES = {
    "hash": mp.Hash(mp.u32, mp.u64),
    "hash, not preallocated": mp.Hash(mp.u32, mp.u64, preallocated=False),
    "hash by CPU": mp.Hash(mp.u32, mp.u64, per_cpu=True),
    "hash by CPU, not preallocated": mp.Hash(mp.u32, mp.u64, per_cpu=True, preallocated=False),
    "LRU": mp.LruHash(mp.u32, mp.u64, 64),
    "LRU by CPU": mp.LruHash(mp.u32, mp.u64, 64, per_cpu=True),
}


def keeping(table: mp.Hash) -> Program:
    """A program that looks keys up, creates, replaces, and deletes them; in small LRU tables it evicts others."""

    @mp.program
    def keep(ctx):  # type: ignore[no-untyped-def]
        n_hits[0] += 1
        table[mp.u32(n_hits[0])] += 1
        table[1 << 31] = 1
        table[1 << 31] = 2
        del table[1 << 31]
        if n_hits[0] >= 100:
            del table[mp.u32(n_hits[0]) - 99]

    return keep


@mp.program
def send(ctx):  # type: ignore[no-untyped-def]
    hits.send(name=ctx.comm)


@mp.program
def keep_for_task(ctx):  # type: ignore[no-untyped-def]
    tasks[ctx.task] += 1
    tasks[ctx.task] += 1
    del tasks[ctx.task]


@mp.program
def take_stacks(ctx):  # type: ignore[no-untyped-def]
    n_hits[0] = mp.u64(traces.id(ctx)) + mp.u64(traces.id(ctx, user=True))


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


def grown(attachment: mp.Attachment) -> dict[str, int]:
    """Calls of each function while the system call behind `os.getsid` is made N_CALLS times: the least of ROUNDS."""
    rounds = []
    for _ in range(ROUNDS):
        before = attachment.read(calls)
        for _ in range(N_CALLS):
            os.getsid(0)
        rounds.append(attachment.read(calls) - before)
    least = np.minimum.reduce(rounds)
    return {function.name: int(n) for function, n in zip(attachment.functions, least, strict=True) if n}


def test_what_serves_a_program_is_known() -> None:
    """Every function of BPF's own that a program's helpers call is left out of what a pattern chose."""
    kernel = mp.Kernel()
    if not kernel.has("trampoline"):
        pytest.skip("this kernel has no trampoline")
    serving, typed = (
        kernel.functions(*(f"vmlinux:{part}".replace("vmlinux:!", "!") for part in SERVING)),
        "__x64_sys_getsid",
    )
    how = mp.Mechanisms(only=["kprobe_multi" if kernel.has("kprobe_multi") else "kprobe"], max_singles=len(serving))
    programs = {"ring": send, "task": keep_for_task, "stacks": take_stacks}
    programs |= {name: keeping(table) for name, table in TABLES.items()}
    unknown = {}
    with mp.attach(count, serving, mechanisms=how) as counting:
        for name, program in programs.items():
            skipped = mp.plan(serving, program=program, mechanisms=how).report.skipped
            left_out = {refusal.request for refusal in skipped if refusal.code == "own_call"}
            with mp.attach(program, [typed], mechanisms="trampoline"):
                called = {name for name, n in grown(counting).items() if n >= N_CALLS // 10}
            assert called & left_out
            unknown[name] = called - left_out
    assert not any(unknown.values()), unknown


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
    assert by or all(name.startswith("bpf_") for name in left_out), "what hash tables call, and no other functions"
    assert row.total > 0

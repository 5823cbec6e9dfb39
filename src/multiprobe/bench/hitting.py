"""`bench hit`: what a call of a probed function costs above the same call without probes, by question and tool.

A loop of getsid() is timed without probes and then with each tool, in turn. In a guest that counts instructions
(`multiprobe vm --icount`), the figures are instructions; elsewhere nanoseconds, which depend on what else the machine
does.
"""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.arch import native
from multiprobe.bench import bpftrace
from multiprobe.bench.attaching import OURS, empty
from multiprobe.bench.figures import Case, Figure, Run, Task, figures, in_turn
from multiprobe.bench.machine import counts_instructions
from multiprobe.instruments import count
from multiprobe.instruments.latency import instrument as latency
from multiprobe.instruments.trace import instrument as trace
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.plan.usable import usable_mechanisms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from multiprobe.functions.sets import FunctionSet

CALLS, ROUNDS = 4_000, 9
"""Calls of one round, and rounds of a run, of which the least counts: others were interrupted."""
SYSTEM_CALL = "getsid"
_RING = 1 << 23
"""Bytes of a ring buffer that holds the events of all rounds: a lost event costs less than a kept one."""

SCRIPTS = {
    "empty": "kprobe:{0} {{ }}",
    "count": "kprobe:{0} {{ @[func] = count(); }}",
    "latency": "kprobe:{0} {{ @began[tid] = nsecs; }} "
    "kretprobe:{0} /@began[tid]/ {{ @[func] = hist(nsecs - @began[tid]); delete(@began[tid]); }}",
}
"""The same questions to bpftrace; not `trace`: it would print while the loop runs, and on one CPU at its cost."""


@mp.program(when="session")
def empty_session(ctx: mp.Context) -> None:
    """Do nothing, twice."""


def measure(task: Task) -> Iterator[Figure]:
    """The figures of all questions, each asked by all tools in turn."""
    kernel = mp.Kernel()
    target = native().wrappers[0] + SYSTEM_CALL
    functions = kernel.functions(target)
    if not functions.n_attachable():
        task.notes.append(f"hit: nothing is measured: {target} can't be attached to")
        return
    unit = "instructions" if counts_instructions() else "ns"
    for question, (side, attach) in _QUESTIONS.items():
        cases: dict[Case, Run] = {}
        for mechanism in usable_mechanisms(kernel, when=side) & Mechanism.KERNEL:
            case = Case(OURS, f"{question}, {mechanism.label}")
            cases[case] = partial(_cost, partial(attach, functions, mechanism))
        peer = Case(bpftrace.PROGRAM, question)
        if question in SCRIPTS and bpftrace.is_there():
            cases[peer] = partial(_cost, partial(bpftrace.running, SCRIPTS[question].format(target)))
        yield from figures("hit", in_turn("hit", cases, task), unit=unit, peer=peer, functions=1)


def _cost(attach: Callable[[], AbstractContextManager[object]]) -> Mapping[str, float]:
    """What a call costs while something is attached, above what it cost right before."""
    without = per_call()
    with attach():
        return {"hit": per_call() - without}


def per_call() -> float:
    """Nanoseconds (or instructions) of one turn of the loop."""
    call, clock = os.getsid, time.perf_counter_ns
    rounds = []
    for _ in range(ROUNDS):
        began = clock()
        for _ in repeat(None, CALLS):
            call(0)
        rounds.append(clock() - began)
    return min(rounds) / CALLS


def _empty(functions: FunctionSet, mechanism: Mechanism) -> mp.Attachment:
    return mp.attach(empty, functions, mechanisms=mechanism.label)


def _empty_session(functions: FunctionSet, mechanism: Mechanism) -> mp.Attachment:
    return mp.attach(empty_session, functions, mechanisms=mechanism.label)


def _count(functions: FunctionSet, mechanism: Mechanism) -> AbstractContextManager[object]:
    return count.start(functions, mechanisms=mechanism.label)


def _latency(functions: FunctionSet, mechanism: Mechanism) -> AbstractContextManager[object]:
    return latency.start(functions, mechanisms=mechanism.label)


def _trace(functions: FunctionSet, mechanism: Mechanism) -> AbstractContextManager[object]:
    return trace.start(functions, size=_RING, mechanisms=mechanism.label)


_QUESTIONS: dict[str, tuple[str, Callable[[FunctionSet, Mechanism], AbstractContextManager[object]]]] = {
    "empty": ("entry", _empty),
    "count": ("entry", _count),
    "empty session": ("session", _empty_session),
    "latency": ("session", _latency),
    "trace": ("session", _trace),
}

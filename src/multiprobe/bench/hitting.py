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
from typing import TYPE_CHECKING, NamedTuple

import multiprobe as mp
from multiprobe.arch import native
from multiprobe.bench.attaching import OURS, empty
from multiprobe.bench.figures import Case, Figure, Run, Task, figures, in_turn
from multiprobe.bench.machine import counts_instructions
from multiprobe.instruments import count
from multiprobe.instruments.errors import instrument as errors
from multiprobe.instruments.graph import instrument as graph
from multiprobe.instruments.instrument import Instrument
from multiprobe.instruments.latency import instrument as latency
from multiprobe.instruments.record import instrument as record
from multiprobe.instruments.trace import instrument as trace
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.plan.usable import usable_mechanisms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


CALLS, ROUNDS = 4_000, 9
"""Calls of one round, and rounds of a run, of which the least counts: others were interrupted."""
SYSTEM_CALL = "getsid"
_RING = 1 << 23
"""Bytes of a ring buffer that holds the events of all rounds: a lost event costs less than a kept one."""

NOBODY = 1 << 22
"""No process has this id: the call for it fails."""

_PRINTED = r'printf("%llu %d %d %s %s %llx\n", nsecs, cpu, tid, comm, func, {});'
SCRIPTS = {
    "empty": "kprobe:{0} {{ }}",
    "count": "kprobe:{0} {{ @[func] = count(); }}",
    "latency": "kprobe:{0} {{ @began[tid] = nsecs; }} "
    "kretprobe:{0} /@began[tid]/ {{ @[func] = hist(nsecs - @began[tid]); delete(@began[tid]); }}",
    "latency --by process": "kprobe:{0} {{ @began[tid] = nsecs; }} "
    "kretprobe:{0} /@began[tid]/ {{ @[func, pid] = hist(nsecs - @began[tid]); delete(@began[tid]); }}",
    "errors: success": "kretprobe:{0} /(int32)retval < 0/ {{ @[func, pid, retval] = count(); }}",
    "errors: failure": "kretprobe:{0} /(int32)retval < 0/ {{ @[func, pid, retval] = count(); }}",
    "trace --entry": f"kprobe:{{0}} {{{{ {_PRINTED.format('arg0')} }}}}",
    "trace": f"kprobe:{{0}} {{{{ {_PRINTED.format('arg0')} }}}} kretprobe:{{0}} {{{{ {_PRINTED.format('retval')} }}}}",
}
"""The same questions to bpftrace; of `errors`, only which calls failed, not on which path. Not `graph`, `--self` and
`record`, for which it has no stack of calls and no ring that overwrites."""


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
    for name, question in QUESTIONS.items():
        cost = partial(_cost, question.pid)
        cases: dict[Case, Run] = {}
        for mechanism in usable_mechanisms(kernel, when=question.side) & Mechanism.KERNEL:
            attach = partial(question.attach, functions, mechanisms=mechanism.label)
            cases[Case(OURS, f"{name}, {mechanism.label}")] = partial(cost, attach, has_reader=question.has_reader)
        peers: dict[Case, Run] = {
            Case(peer.name, name): partial(cost, partial(peer.running, SCRIPTS[name].format(target)))
            for peer in task.bpftraces
            if name in SCRIPTS
        }
        found = in_turn("hit", cases | peers, task)
        yield from figures("hit", found, unit=unit, peer=next(iter(peers), None), functions=1)


def _cost(
    pid: int, attach: Callable[[], AbstractContextManager[object]], *, has_reader: bool = False
) -> Mapping[str, float]:
    """What a call costs while something is attached, above what it cost right before."""
    without = per_call(pid)
    with attach() as running:
        if has_reader and isinstance(running, Instrument):
            return {"hit": per_call(pid, running.sample) - without}
        return {"hit": per_call(pid) - without}


def per_call(pid: int = 0, drain: Callable[[], object] = lambda: None) -> float:
    """Nanoseconds (or instructions) of this process in one turn of the loop; `drain` is called before each round of it.

    Processor time: what a reader of events does meanwhile is no part of it.
    """
    call, clock = os.getsid, time.process_time_ns
    rounds = []
    for _ in range(ROUNDS):
        drain()
        began = clock()
        for one in repeat(pid, CALLS):
            try:  # noqa: SIM105 — a context manager would cost more than the probes
                call(one)
            except OSError:
                pass
        rounds.append(clock() - began)
    return min(rounds) / CALLS


class Question(NamedTuple):
    """What is asked: the side of its program, how it is attached (with `mechanisms=`), what the loop calls getsid()
    with, and whether what is collected is read before each round.
    """

    side: str
    attach: Callable[..., AbstractContextManager[object]]
    pid: int = 0
    has_reader: bool = False


QUESTIONS = {
    "empty": Question("entry", partial(mp.attach, empty)),
    "count": Question("entry", count.start),
    "empty session": Question("session", partial(mp.attach, empty_session)),
    "latency": Question("session", latency.start),
    "latency --self": Question("session", partial(latency.start, has_self=True)),
    "latency --by process": Question("session", partial(latency.start, by="process")),
    "errors: success": Question("session", errors.start),
    "errors: failure": Question("session", errors.start, NOBODY, has_reader=True),
    "graph": Question("session", partial(graph.start, max_events=2 * ROUNDS * CALLS)),
    "trace --entry": Question("entry", partial(trace.start, entries_only=True, size=_RING)),
    "trace": Question("session", partial(trace.start, size=_RING)),
    "record": Question("session", partial(record.start, until="ret == -ENOSPC")),
}

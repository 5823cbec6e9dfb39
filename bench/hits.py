"""Measures instructions per hit: of each question's program, relative to an empty program of the same mechanism.

Runs in a guest whose clocks count instructions:
`multiprobe vm --icount --kernel 6.12 -- .venv/bin/python bench/hits.py`. A loop of getsid() is timed without probes,
then with each program on the function behind it and on 9 (or 9,999) functions that the loop doesn't call; bpftrace with
`--bpftrace`. `errors` is measured with a call that succeeds and with one that fails. With `--only`, programs of these
names alone, and the empty ones. With `--processes`, instead: `count` restricted to processes in each way, in the
process and outside.
Prints JSON lines; `cost` is the number of instructions per call above the loop without probes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product, repeat
from os import getsid
from typing import Any, NamedTuple

import multiprobe as mp
from multiprobe.functions.sets import FunctionSet
from multiprobe.instruments.count import calls, count
from multiprobe.instruments.errors import instrument as errors
from multiprobe.instruments.graph import instrument as graph
from multiprobe.instruments.latency.program import LatencyProbe
from multiprobe.instruments.record import instrument as record
from multiprobe.instruments.trace import instrument as trace
from multiprobe.syscalls import bpf

TARGET = "__x64_sys_getsid"
CALLS, ROUNDS = 4000, 9
NOBODY = 1 << 22
"""No process has this id."""
ROOM = 4 << 20
"""Bytes of a ring buffer: for the events of a round."""
#: What a system call and a timer interrupt run through anyway: nothing of this may be among the others. What programs
#: call is among them, as in any large set.
BUSY = re.compile(
    r"sys_|syscall|_pid|pid_|task|rcu|entry|exit|irq|trace|probe|fgraph|timekeep|clock|tick|timer|sched|migrate"
    r"|preempt|lock|cpu|rethook|text_poke|perf|clear|fault|page|mem|vfs|ksys|fuse|virtio"
)


@mp.program
def empty(ctx):
    return


@mp.program(when="session")
def empty_session(ctx):
    return


last = mp.Array(mp.u64, 1)


@mp.program(when="session")
def clocks(ctx):
    """The least that timing a call takes."""
    if not ctx.is_return:
        ctx.session = ctx.time
        return
    last[0] = ctx.time - ctx.session


def per_call(pid: int = 0, drain: Callable[[], object] = lambda: None) -> float:
    """Instructions of one turn of the loop: the least of several rounds, which interrupts disturb.

    drain: called before each round
    """
    clock, rounds = time.perf_counter_ns, []
    for _ in range(ROUNDS):
        drain()
        turns = repeat(pid, CALLS)
        began = clock()
        for one in turns:
            try:  # noqa: SIM105 — a context manager would cost more than the probes
                getsid(one)
            except OSError:
                pass
        rounds.append(clock() - began)
    return min(rounds) / CALLS


def chosen(kernel: mp.Kernel, n: int) -> FunctionSet:
    """The target and n - 1 functions that the loop doesn't come through."""
    everything = kernel.functions("vmlinux:*").attachable()
    nothing = kernel.functions(TARGET).take([])  # what is added to it counts as chosen by a pattern, not by its name
    named = (f.name for f in everything if f.name.isidentifier())
    others = [name for name in named if name.startswith("bpf_") or not BUSY.search(name)]
    some = nothing | kernel.functions(*others[: n + n // 8])
    with mp.attach(count, some, mechanisms="kprobe_multi") as attachment:
        for pid in (0, NOBODY):
            per_call(pid)
        hits = attachment.totals(calls)
        quiet = [f.name for f, n_hits in zip(attachment.functions, hits, strict=True) if n_hits < CALLS // 10]
    return nothing | kernel.functions(TARGET, *quiet[: n - 1])


class Question(NamedTuple):
    """What is measured: `start` attaches it; `pid` is what the loop asks for, `drain` what is called in between."""

    name: str
    side: str
    start: Callable[..., Any]
    pid: int = 0
    drain: Callable[[Any], object] = lambda attached: None


def attached(program: Any) -> Callable[..., mp.Attachment]:
    """A function that attaches `program`."""
    return partial(mp.attach, program)


def questions() -> Iterator[Question]:
    """The empty programs first."""
    yield Question("empty", "entry", attached(empty))
    yield Question("empty", "session", attached(empty_session))
    yield Question("count", "entry", attached(count))
    yield Question("two clock readings", "session", attached(clocks))
    yield Question("latency", "session", attached(LatencyProbe().program))
    yield Question("latency --self", "session", attached(LatencyProbe(has_self=True).program))
    yield Question("latency --by process", "session", attached(LatencyProbe(by="process").program))
    yield Question("graph", "session", partial(graph.start, max_events=2 * ROUNDS * CALLS))
    yield Question("errors, success", "session", errors.start)
    yield Question("errors, failure", "session", errors.start, NOBODY, lambda attached: attached.sample())
    entries = partial(trace.start, entries_only=True, size=ROOM)
    yield Question("trace --entry", "entry", entries, 0, lambda attached: attached.sample())
    yield Question("trace", "session", partial(trace.start, size=ROOM), 0, lambda attached: attached.sample())
    yield Question("record", "session", partial(record.start, until="ret == -ENOSPC"))


def ours(kernel: mp.Kernel, n: int, without: dict[int, float], only: list[str]) -> None:
    """Each question's program by each batch mechanism."""
    functions = chosen(kernel, n)
    empties: dict[tuple[str, str], float] = {}
    for mechanism in ("kprobe_multi", "tracing_multi"):
        for name, side, start, pid, drain in questions():
            if only and name not in ("empty", *only):
                continue
            try:
                started = start(functions, mechanisms=mechanism)
            except mp.NotSupportedError:
                continue
            with started:
                cost = per_call(pid, partial(drain, started)) - without[pid]
            empties.setdefault((mechanism, side), cost)
            below = empties[mechanism, side]
            line = {"program": name, "side": side, "mechanism": mechanism, "functions": n}
            print(
                json.dumps(
                    line
                    | {"cost": round(cost, 1), "above_empty": round(cost - below, 1), "ratio": round(cost / below, 2)}
                ),
                flush=True,
            )


known = mp.Hash(mp.u32, mp.u8)


@mp.program
def count_by_table(ctx):
    if ctx.pid in known:
        calls[ctx.function] += 1


def restricted(kernel: mp.Kernel, without: float) -> None:
    """What it costs to look whether a process is measured; by the table that a mark in an array stands for, too."""
    functions = kernel.functions(TARGET)
    with subprocess.Popen(["sleep", "3600"]) as other:
        for mechanism, where in product(("kprobe_multi", "tracing_multi"), ("inside", "outside")):
            pid = os.getpid() if where == "inside" else other.pid
            for name, program, options in (
                ("all", count, {}),
                ("one process", count, {"pid": pid, "children": False}),
                ("with children", count, {"pid": pid}),
                ("hash table", count_by_table, {}),
            ):
                try:
                    attachment = mp.attach(program, functions, mechanisms=mechanism, **options)
                except mp.NotSupportedError:
                    continue
                with attachment:
                    if program is count_by_table:
                        bpf.map_update(attachment.map(known).fd, pid.to_bytes(4, "little"), b"\1")
                    cost = per_call() - without
                line = {"processes": name, "calls": where, "mechanism": mechanism, "cost": round(cost, 1)}
                print(json.dumps(line), flush=True)
        other.kill()


def bpftrace(without: float, script: str) -> None:
    """The peer: started, waited for, and asked to end."""
    version = subprocess.run(["bpftrace", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    with tempfile.TemporaryFile("w+") as out:
        peer = subprocess.Popen(
            ["bpftrace", "-e", 'BEGIN { printf("begun\\n") } ' + script], stdout=out, stderr=subprocess.STDOUT
        )
        wait(lambda: "begun" in read(out) or peer.poll() is not None)
        cost = per_call() - without
        peer.send_signal(2)
        peer.wait()
        failure = {} if peer.returncode == 0 else {"output": read(out)}
    print(json.dumps({"program": script, "peer": version, "cost": round(cost, 1)} | failure), flush=True)


def read(file: Any) -> str:
    """What was written so far."""
    return os.pread(file.fileno(), 1 << 16, 0).decode()


def wait(is_there: Callable[[], bool]) -> None:
    while not is_there():
        time.sleep(0.1)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--functions", type=int, nargs="+", default=[10, 10_000])
    options.add_argument("--only", nargs="+", default=[])
    options.add_argument("--bpftrace", action="store_true")
    options.add_argument("--processes", action="store_true")
    given = options.parse_args()
    kernel = mp.Kernel()
    loops = {pid: per_call(pid) for pid in (0, NOBODY)}
    without = loops[0]
    print(json.dumps({"kernel": os.uname().release, "loop": round(without, 1)}), flush=True)
    if given.processes:
        restricted(kernel, without)
        return
    for n in given.functions:
        ours(kernel, n, loops, given.only)
    if given.bpftrace and shutil.which("bpftrace"):
        bpftrace(without, "kprobe:" + TARGET + " { }")
        bpftrace(without, "kprobe:" + TARGET + " { @[func] = count(); }")


if __name__ == "__main__":
    main()

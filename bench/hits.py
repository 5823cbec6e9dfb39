"""Measures instructions per hit: `count` and `latency`, relative to an empty program of the same mechanism.

Runs in a guest whose clocks count instructions:
`multiprobe vm --icount --kernel 6.12 -- .venv/bin/python bench/hits.py`. A loop of getsid() is timed without probes,
then with each program on the function behind it and on 9 (or 9,999) functions that the loop doesn't call; bpftrace with
`--bpftrace`. With `--processes`, instead: `count` restricted to processes in each way, in the process and outside.
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
from itertools import product, repeat
from typing import Any

import multiprobe as mp
from multiprobe.functions.sets import FunctionSet
from multiprobe.instruments.count import calls, count
from multiprobe.instruments.latency.program import LatencyProbe
from multiprobe.syscalls import bpf

TARGET = "__x64_sys_getsid"
CALLS, ROUNDS = 4000, 9
#: What a system call runs through anyway, and what probes themselves use: nothing of this may be among the others.
BUSY = re.compile(
    r"sys_|syscall|_pid|pid_|task|rcu|entry|exit|irq|bpf|trace|probe|fgraph|ktime|timekeep|clock|tick|timer|sched|migrate"
    r"|preempt|lock|copy|cpu|rethook|htab|text_poke|perf|clear|fault|page|mem|vfs|ksys|fuse|virtio"
)


@mp.program
def empty(ctx):
    return


@mp.program(when="session")
def empty_session(ctx):
    return


def per_call() -> float:
    """Instructions of one turn of the loop: the least of several rounds, which interrupts disturb."""
    getsid, clock = os.getsid, time.perf_counter_ns
    rounds = []
    for _ in range(ROUNDS):
        began = clock()
        for _ in repeat(None, CALLS):
            getsid(0)
        rounds.append(clock() - began)
    return min(rounds) / CALLS


def chosen(kernel: mp.Kernel, n: int) -> FunctionSet:
    """The target and n - 1 functions that the loop doesn't come through."""
    everything = kernel.functions("vmlinux:*").attachable()
    others = [f.name for f in everything if f.name.isidentifier() and not BUSY.search(f.name)]
    with mp.attach(count, kernel.functions(*others[: n + n // 8]), mechanisms="kprobe_multi") as attachment:
        per_call()
        hits = attachment.totals(calls)
        quiet = [f.name for f, n_hits in zip(attachment.functions, hits, strict=True) if n_hits < CALLS // 10]
    return kernel.functions(TARGET, *quiet[: n - 1])


def programs() -> Iterator[tuple[str, Any, str]]:
    """(name, program, side)."""
    yield "empty", empty, "entry"
    yield "count", count, "entry"
    yield "empty", empty_session, "session"
    yield "latency", LatencyProbe().program, "session"
    yield "latency --self", LatencyProbe(has_self=True).program, "session"
    yield "latency --by process", LatencyProbe(by="process").program, "session"


def ours(kernel: mp.Kernel, n: int, without: float) -> None:
    """Each program by each batch mechanism."""
    functions = chosen(kernel, n)
    empties: dict[tuple[str, str], float] = {}
    for mechanism in ("kprobe_multi", "tracing_multi"):
        for name, program, side in programs():
            try:
                attachment = mp.attach(program, functions, when=side, mechanisms=mechanism)
            except mp.NotSupportedError:
                continue
            with attachment:
                cost = per_call() - without
            if name == "empty":
                empties[mechanism, side] = cost
            below = empties[mechanism, side]
            line = {"program": name, "side": side, "mechanism": mechanism, "functions": attachment.report.attached}
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
    options.add_argument("--bpftrace", action="store_true")
    options.add_argument("--processes", action="store_true")
    given = options.parse_args()
    kernel = mp.Kernel()
    without = per_call()
    print(json.dumps({"kernel": os.uname().release, "loop": round(without, 1)}), flush=True)
    if given.processes:
        restricted(kernel, without)
        return
    for n in given.functions:
        ours(kernel, n, without)
    if given.bpftrace and shutil.which("bpftrace"):
        bpftrace(without, "kprobe:" + TARGET + " { }")
        bpftrace(without, "kprobe:" + TARGET + " { @[func] = count(); }")


if __name__ == "__main__":
    main()

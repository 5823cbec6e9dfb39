"""Measures commands on all functions of a kernel with many CPUs: the memory they take, and whether counts are right.

Runs in a guest: `multiprobe vm --kernel 6.12 --cpus 32 --memory 4096 -- .venv/bin/python bench/many_cpus.py`. A process
has a child on each CPU, which waits until the command is attached to all functions, then calls getsid(), which nothing
else does, and waits again: neither starting them nor their end is measured. `graph`, whose room is limited, is attached
for that process and its children. Prints a JSON line for each command: `maps`, what the kernel says that it allocated
for all its maps, and `maps_predicted`; `links`, what /proc/meminfo shows that everything else took, and
`links_predicted`, as `--dry-run` tells both, in bytes; `pools`, what of that are pools of return nodes; and how many of
the `calls` were `found`. Or, where the machine has too little memory, the `refused` sentence: `--max-memory` allows
more. An emulated kernel with 32 CPUs takes minutes to attach to all functions: `--functions N` takes fewer.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import multiprobe as mp
from allocated import map_bytes, pool_bytes
from multiprobe.instruments import count
from multiprobe.instruments.errors import instrument as errors
from multiprobe.instruments.graph import instrument as graph
from multiprobe.instruments.latency import instrument as latency
from multiprobe.kernel.memory import kernel_bytes_used, load_meminfo

TARGET = "__x64_sys_getsid"
NOBODY = 1 << 22
"""No process has this id: getsid() fails."""
LONGEST_WAIT = 120.0
"""Seconds."""


def count_found(started: Any, index: int) -> int:
    return int(started.finish().totals[index])


def latency_found(started: Any, index: int) -> int:
    return sum(row.calls for row in started.finish().rows if row.function == started.functions[index])


def errors_found(started: Any, index: int) -> int:
    groups = started.finish().groups
    return sum(group.count for group in groups if index in group.example.path)


def graph_found(started: Any, index: int) -> int:
    return sum(int((thread.calls.function == index).sum()) for thread in started.finish().threads)


COMMANDS: dict[str, tuple[Callable[..., Any], Callable[[Any, int], int]]] = {
    "count": (count.start, count_found),
    "latency": (latency.start, latency_found),
    "latency --self": (partial(latency.start, has_self=True), latency_found),
    "latency --by process": (partial(latency.start, by="process"), latency_found),
    "errors": (errors.start, errors_found),
    "graph": (partial(graph.start, max_events=1_000_000), graph_found),
}


def settled_meminfo() -> dict[str, int]:
    """/proc/meminfo, once the kernel has freed what earlier commands took: it does that later, by itself. After
    LONGEST_WAIT as it is.
    """
    before, now = {}, load_meminfo()
    end = time.monotonic() + LONGEST_WAIT
    while time.monotonic() < end and (pool_bytes() or before.get("VmallocUsed") != now["VmallocUsed"]):
        time.sleep(2)
        before, now = now, load_meminfo()
    return now


class Callers:
    """A process with a child on each CPU, which calls getsid() `n_calls` times once it is told to. Closing kills them.

    Descriptors are eventfds: children take one from `_go` each, and add one to `_told` when they wait, and are done.
    """

    def __init__(self, n_calls: int) -> None:
        self.cpus = sorted(os.sched_getaffinity(0))
        self._go, self._told = os.eventfd(0, os.EFD_SEMAPHORE), os.eventfd(0)
        self.pid = os.fork()
        if not self.pid:
            os.setpgid(0, 0)
            for cpu in self.cpus:
                if not os.fork():
                    self._call(cpu, n_calls)
            signal.pause()
        self._wait_for_all()

    def _call(self, cpu: int, n_calls: int) -> None:
        """What a child does."""
        os.sched_setaffinity(0, {cpu})
        os.eventfd_write(self._told, 1)
        os.eventfd_read(self._go)
        for _ in range(n_calls):
            try:  # noqa: SIM105
                os.getsid(NOBODY)
            except OSError:
                pass
        os.eventfd_write(self._told, 1)
        signal.pause()

    def _wait_for_all(self, poll: Callable[[], object] = lambda: None) -> None:
        n_told = 0
        while n_told < len(self.cpus):
            if select.select([self._told], [], [], 0.1)[0]:
                n_told += os.eventfd_read(self._told)
            poll()

    def call(self, poll: Callable[[], object]) -> None:
        """Have all of them call, and call `poll` meanwhile."""
        os.eventfd_write(self._go, len(self.cpus))
        self._wait_for_all(poll)

    def close(self) -> None:
        """End them."""
        os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._go)
        os.close(self._told)


def measured(name: str, functions: mp.FunctionSet, callers: Callers, limits: mp.Limits) -> Iterator[tuple[str, object]]:
    """What is found for one command, but for the number of calls that were made."""
    start, found = COMMANDS[name]
    before, pools = settled_meminfo(), pool_bytes()
    began = time.perf_counter()
    try:
        started = start(functions, pid=callers.pid if name == "graph" else None, limits=limits)
    except mp.MultiprobeError as error:
        yield "refused", str(error)
        return
    with started:
        yield "attach_seconds", round(time.perf_counter() - began, 1)
        memory = started.report.kernel_memory
        maps = sum(map_bytes().values())
        after = load_meminfo()
        yield "mechanisms", dict(started.report.mechanisms)
        yield "maps", maps
        yield "maps_predicted", memory.get("maps", 0)
        yield "links", kernel_bytes_used(after) - kernel_bytes_used(before) - maps
        yield "links_predicted", memory.get("predicted", 0)
        yield "vmalloc", after["VmallocUsed"] - before["VmallocUsed"]
        yield "pools", pool_bytes() - pools
        index = next(index for index, one in enumerate(started.functions) if one.name == TARGET)
        callers.call(started.poll)
        yield "found", found(started, index)
        yield "missed", {cause: n for cause, n in started.report.missed.items() if n}


def chosen(n: int) -> mp.FunctionSet:
    """All functions of the kernel; or the first `n` and the one that is called."""
    kernel = mp.Kernel()
    every = kernel.functions("*").attachable()
    return every.take(range(n)) | kernel.functions(TARGET) if n else every


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    options.add_argument("--calls", type=int, default=200, help="of each CPU")
    options.add_argument("--max-memory", type=float, default=0.25, help="part that links may take of what is available")
    options.add_argument("--functions", type=int, default=0, help="so many, with the one that is called; 0: all")
    given = options.parse_args()
    limits = mp.Limits(max_memory=given.max_memory)
    functions = chosen(given.functions)
    machine = {"kernel": os.uname().release, "cpus": os.cpu_count(), "functions": len(functions)}
    print(json.dumps(machine | {"available": load_meminfo()["MemAvailable"]}), flush=True)
    for name in given.only:
        with closing(Callers(given.calls)) as callers:
            found = dict(measured(name, functions, callers, limits))
        calls = {"calls": given.calls * len(callers.cpus)} if "found" in found else {}
        print(json.dumps({"command": name} | found | calls), flush=True)


if __name__ == "__main__":
    main()

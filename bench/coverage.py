"""Measures by how much `coverage` and `count` of all functions slow a process down, at first and later.

Runs in a guest whose clock counts instructions:
`multiprobe vm --icount --kernel 6.12 -- .venv/bin/python bench/coverage.py`. The process is the workload of
`budget.py`: without probes, then counted, then covered, both restricted to it. Prints JSON lines; `slower` is the time
of a round relative to one without probes: in the first second after attaching, in the last one, and in all of it. With
one CPU, multiprobe's own work in that time is in it, too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import multiprobe as mp
from budget import Workload
from multiprobe.instruments.count import count
from multiprobe.instruments.coverage.instrument import EVERY, CoverageCollector, start

Attached = AbstractContextManager[Any]


def attaching(functions: mp.FunctionSet, pid: int, mechanism: str) -> dict[str, Callable[[], Attached]]:
    """How to attach each program, by its name."""
    return {
        "none": nullcontext,
        "count": lambda: mp.attach(count, functions, pid=pid, mechanisms=mechanism),
        "coverage": lambda: start(functions, pid=pid, mechanisms=mechanism),
    }


def measured(workload: Workload, attached: object, seconds: float) -> dict[str, float]:
    """Microseconds of a round: in the first second, the last one, and all."""
    began = time.monotonic()
    while time.monotonic() < began + seconds:
        time.sleep(EVERY)
        if isinstance(attached, CoverageCollector):
            attached.poll()
    rates = workload.rates(began)
    parts = {
        "first_second": [rate for at, rate in rates if at <= 1],
        "last_second": [rate for at, rate in rates if at > seconds - 1],
        "whole": [rate for _, rate in rates],
    }
    return {name: round(1e6 / statistics.mean(part), 1) for name, part in parts.items()}


def main() -> None:
    """Measure the workload with each program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patterns", nargs="*", default=["*"])
    parser.add_argument("--seconds", type=float, default=10.0, help="of coverage; the others are measured for 3 s")
    parser.add_argument("--mechanism", default="kprobe_multi")
    options = parser.parse_args()
    functions = mp.Kernel().functions(*options.patterns).attachable()
    workload = Workload()
    try:
        workload.wait_until_running()
        without: dict[str, float] = {}
        for name, attach in attaching(functions, workload.pid, options.mechanism).items():
            with attach() as attached:
                found = measured(workload, attached, options.seconds if name == "coverage" else 3.0)
            without = without or found
            line = {"program": name, "functions": len(functions), "kernel": os.uname().release, "microseconds": found}
            slower = {part: round(found[part] / without[part], 2) for part in found}
            print(json.dumps(line | {"slower": slower}), flush=True)
    finally:
        workload.close()


if __name__ == "__main__":
    main()

"""Measures by how much `coverage` and `count` of all functions slow a process down, at first and later.

Runs in a guest whose clock counts instructions:
`multiprobe vm --icount --kernel 6.12 -- .venv/bin/python bench/coverage.py`. This process opens, reads, writes, stats
and pipes without a pause: without probes, then counted, then covered, both restricted to this process and its children.
Prints JSON lines; `slower` is the time of a round relative to one without probes: in the first second after attaching,
in the rest, and in all of it.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from tempfile import NamedTemporaryFile
from typing import Any

import multiprobe as mp
from multiprobe.instruments.count import count
from multiprobe.instruments.coverage.instrument import start

FIRST = 1.0
TIMES = ("first_second", "later", "whole")


def work(path: str) -> None:
    """One round."""
    with open(path, "r+b", buffering=0) as file:
        file.read(100)
        file.write(b"x" * 100)
    os.stat(path)
    reader, writer = os.pipe()
    os.write(writer, b"x")
    os.read(reader, 1)
    os.close(reader)
    os.close(writer)


def rounds(path: str, seconds: float) -> tuple[float, float, float]:
    """Seconds per round: in the first second, later, and in all of it."""
    began = time.perf_counter()
    n, n_first, first = 0, 0, 0.0
    while (now := time.perf_counter() - began) < seconds:
        if not first and now >= FIRST:
            n_first, first = n, now
        work(path)
        n += 1
    return first / n_first, (now - first) / (n - n_first), now / n


def attaching(functions: Any) -> dict[str, Callable[[], Any]]:
    """How to attach each program, by its name."""
    pid = os.getpid()
    return {
        "none": nullcontext,
        "count": lambda: mp.attach(count, functions, pid=pid, mechanisms="kprobe_multi"),
        "coverage": lambda: start(functions, pid=pid, mechanisms="kprobe_multi"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patterns", nargs="*", default=["*"])
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    functions = mp.Kernel().functions(*options.patterns).attachable()
    without: tuple[float, ...] = ()
    with NamedTemporaryFile() as file:
        rounds(file.name, FIRST + 0.1)  # caches are warm
        for name, attach in attaching(functions).items():
            with attach():
                measured = rounds(file.name, options.seconds)
            without = without or measured
            line = {"program": name, "functions": len(functions), "kernel": os.uname().release}
            line["microseconds"] = dict(zip(TIMES, (round(1e6 * one, 1) for one in measured), strict=True))
            slower = (round(one / base, 2) for one, base in zip(measured, without, strict=True))
            print(json.dumps(line | {"slower": dict(zip(TIMES, slower, strict=True))}), flush=True)


if __name__ == "__main__":
    main()

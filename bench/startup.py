"""Measures the time from the command to the first hit for `functions` and `count`, beside `cat` and bpftrace.

Runs in a guest: `multiprobe vm --kernel 6.12 -- .venv/bin/python bench/startup.py`. "Attached" is the time recorded by
the command that a tool starts once everything is attached (ours: `-- COMMAND`; bpftrace: `-c COMMAND`).
Each run also reports the processor time of the whole process tree ("cpu"): under `-icount` this is the
number of instructions, independent of the machine's load. Prints JSON lines; ratios are medians of ours over medians of
the peer's.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

FILES = (
    "/proc/kallsyms",
    "/sys/kernel/tracing/available_filter_functions_addrs",
    "/sys/kernel/btf/vmlinux",
)
CHOOSE = "import multiprobe as mp; k = mp.Kernel(use_cache={}); print(k.functions('*').n_attachable())"
MULTIPROBE = Path(sys.executable).with_name("multiprobe")


def seconds(command: list[str]) -> float:
    """How long a command takes, whole; it must succeed."""
    began = time.monotonic()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


def cpu_seconds() -> float:
    """The processor time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_counting(command: Callable[[list[str]], list[str]]) -> dict[str, float]:
    """Seconds until attached, whole, and of processor time; the command line is made around one that touches a file."""
    with tempfile.TemporaryDirectory() as directory:
        noted = Path(directory, "attached")
        line = command(["/usr/bin/touch", str(noted)])
        cpu, began = cpu_seconds(), time.time()
        result = subprocess.run(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        ended = time.time()
        if not noted.exists():
            raise SystemExit(f"{line}: {result.stderr.decode()}")
        return {"attached": noted.stat().st_mtime - began, "whole": ended - began, "cpu": cpu_seconds() - cpu}


def multiprobe_count(pattern: str) -> Callable[[list[str]], list[str]]:
    return lambda command: [str(MULTIPROBE), "count", pattern, "--", *command]


def bpftrace_count(pattern: str) -> Callable[[list[str]], list[str]]:
    return lambda command: ["bpftrace", "-c", " ".join(command), "-e", f"kprobe:{pattern} {{ @[func] = count(); }}"]


def say(**figures: object) -> None:
    print(json.dumps(figures), flush=True)


def choosing(runs: int) -> None:
    """Choosing all functions from an empty process, against reading the same files with cat."""
    python = [sys.executable, "-c"]
    seconds([*python, CHOOSE.format(True)])  # fills the cache
    times: dict[str, list[float]] = {"cat": [], "read": [], "cached": [], "python": []}
    for _ in range(runs):
        times["cat"].append(seconds(["cat", *FILES]))
        times["read"].append(seconds([*python, CHOOSE.format(False)]))
        times["cached"].append(seconds([*python, CHOOSE.format(True)]))
        times["python"].append(seconds([*python, "0"]))
    medians = {name: statistics.median(found) for name, found in times.items()}
    say(bench="choose", **medians, ratio={n: medians[n] / medians["cat"] for n in ("read", "cached", "python")})


def counting(pattern: str, runs: int) -> None:
    """`count PATTERN`, second run, against bpftrace's."""
    ours, theirs = multiprobe_count(pattern), bpftrace_count(pattern)
    run_counting(ours)
    has_peer = shutil.which("bpftrace") is not None
    if has_peer:
        run_counting(theirs)  # its files are in memory then, as ours are
    times: dict[str, list[dict[str, float]]] = {"multiprobe": [], "bpftrace": []}
    for _ in range(runs):
        times["multiprobe"].append(run_counting(ours))
        if has_peer:
            times["bpftrace"].append(run_counting(theirs))
    for choose, how in ((statistics.median, "median"), (min, "least")):
        figures = {
            name: {what: choose(one[what] for one in found) for what in found[0]}
            for name, found in times.items()
            if found
        }
        ours_, peer = figures["multiprobe"], figures.get("bpftrace")
        ratio = {what: ours_[what] / peer[what] for what in peer} if peer else {}
        say(bench="count", pattern=pattern, of=how, ratio=ratio, **figures)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--skip-all", action="store_true", help="leave out count '*', which takes minutes")
    chosen = options.parse_args()
    choosing(chosen.runs)
    counting("tcp_*", chosen.runs)
    if not chosen.skip_all:
        counting("*", 1)


if __name__ == "__main__":
    main()

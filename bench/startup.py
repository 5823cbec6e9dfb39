"""Measures the time from the command to the first hit for `functions` and `count`, beside `cat` and bpftrace.

Runs in a guest: `multiprobe vm --kernel 6.12 -- .venv/bin/python bench/startup.py`. "Attached" is the time recorded by
the command that a tool starts once everything is attached (ours: `-- COMMAND`; bpftrace: `-c COMMAND`).
Each run also reports the processor time of the whole process tree ("cpu"): under `-icount` this is the
number of instructions, independent of the machine's load. Prints JSON lines; ratios are medians of ours over medians of
the peer's.

With `--native` it runs on any machine and attaches to nothing: the processor time that `count` takes from the start of
its process to its first attaching system call, on a fake kernel with 60,000 functions (`first_link.py`), beside that of
bpftrace until it has compiled the same program (`bpftrace -d`, which attaches nothing; as root, in a mount namespace
where the fake's list of functions is tracefs).
"""

from __future__ import annotations

import argparse
import json
import os
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
FIRST_LINK = Path(__file__).with_name("first_link.py")
TESTS = Path(__file__).parents[1] / "tests"
N_FUNCTIONS = 60_000
BPFTRACE = """
mount --make-rprivate / && mount -t tmpfs tmpfs /sys/kernel/debug && mkdir /sys/kernel/debug/tracing || exit
cp "$1" /sys/kernel/debug/tracing/ && exec bpftrace -d -e "kprobe:$2 { @[func] = count(); }"
"""
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


def native(pattern: str, runs: int) -> None:
    """Processor time (ms) to the first attaching system call on a fake kernel, and of bpftrace to compile the same."""
    sys.path[:0] = [str(TESTS), str(TESTS / "unit/kernel")]
    from fake_kernel import FUNCTIONS, LIKE_6_12, FakeFunction, FakeKernel

    many = (FakeFunction(f"{'tcp_more' if n < 400 else 'some_function'}_{n}") for n in range(N_FUNCTIONS))
    with tempfile.TemporaryDirectory() as directory:
        fake = FakeKernel(Path(directory), LIKE_6_12, functions=(*FUNCTIONS, *many))
        listed = fake.root / "sys/kernel/tracing/available_filter_functions"
        ours = [sys.executable, str(FIRST_LINK), str(fake.root), str(fake.cache), "count", pattern]
        theirs = ["unshare", "-m", "sh", "-c", BPFTRACE, "sh", str(listed), pattern]
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": f"{directory}/code"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        found: dict[str, list[float]] = {"first_link": [], "python": [], "bpftrace": []}
        for n in range(runs + 1):  # the first one fills the caches
            told = json.loads(subprocess.run(ours, env=environment, capture_output=True, check=True).stdout)
            if not n:
                continue
            found["first_link"].append(told["first_link"])
            found["python"].append(told["python"])
            if shutil.which("bpftrace"):
                before = cpu_seconds()
                subprocess.run(theirs, capture_output=True, check=False)
                found["bpftrace"].append(1000 * (cpu_seconds() - before))
    for choose, how in ((statistics.median, "median"), (min, "least")):
        say(bench="native", pattern=pattern, of=how, unit="ms", **{n: choose(v) for n, v in found.items() if v})


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--skip-all", action="store_true", help="leave out count '*', which takes minutes")
    options.add_argument("--native", action="store_true", help="on this machine and a fake kernel, attaching nothing")
    chosen = options.parse_args()
    if chosen.native:
        native("tcp_*", chosen.runs)
        return
    choosing(chosen.runs)
    counting("tcp_*", chosen.runs)
    if not chosen.skip_all:
        counting("*", 1)


if __name__ == "__main__":
    main()

"""Measures choosing all functions from an empty process, beside `cat` of the files that they are chosen from.

Runs in a guest: `multiprobe vm --kernel 6.12 -- .venv/bin/python bench/startup.py`. Prints JSON lines; ratios are
medians of ours over medians of the peer's. (`multiprobe bench start` measures whole commands, by phase.)

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


def seconds(command: list[str]) -> float:
    """How long a command takes, whole; it must succeed."""
    began = time.monotonic()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


def cpu_seconds() -> float:
    """The processor time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


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
    options.add_argument("--native", action="store_true", help="on this machine and a fake kernel, attaching nothing")
    chosen = options.parse_args()
    if chosen.native:
        native("tcp_*", chosen.runs)
        return
    choosing(chosen.runs)


if __name__ == "__main__":
    main()

"""Soak: all functions counted, attached again and again by each mechanism in turn, beside other tracers, for minutes.

    python tests/kernel/soak.py [--minutes M]      in a guest, as root: make soak MINUTES=30

Our memory and the kernel's (slab, per-CPU, vmalloc) don't grow from the second third of the rounds to the last, counts
never fall, and every function that was not attached is accounted for.
"""

from __future__ import annotations

import argparse
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

sys.path[:0] = [str(Path(__file__).parents[1])]

import leftovers  # noqa: E402
import multiprobe as mp  # noqa: E402
from multiprobe.kernel.memory import load_meminfo  # noqa: E402

#: What may come on top, in KiB, and as a share of what was there: the kernel's caches breathe.
SLACK_KIB, SLACK = 4096, 0.03
SECONDS_ATTACHED = 5.0
N_SINGLES = 200
MECHANISMS = ("tracing_multi", "kprobe_multi", "trampoline", "kprobe")
calls = mp.PerFunction(mp.u64)


@mp.program
def count(ctx):
    calls[ctx.function] += 1


def memory() -> dict[str, int]:
    """Our resident memory and the kernel's, in KiB."""
    gc.collect()
    with open("/proc/self/statm") as file:
        found = {"resident": int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") // 1024}
    fields = load_meminfo()
    return found | {name: fields[name] // 1024 for name in ("SUnreclaim", "Percpu", "VmallocUsed") if name in fields}


def other_tracers() -> list[list[str]]:
    """Those that are installed, each doing much the same."""
    found = []
    if shutil.which("bpftrace"):
        found.append(["bpftrace", "-e", "kprobe:vfs_* { @[func] = count(); } interval:s:3 { exit(); }"])
    if shutil.which("perf"):
        found.append(["perf", "stat", "-e", "context-switches,page-faults", "-a", "sleep", "3"])
    return found


def workload() -> None:
    """Something to count."""
    with tempfile.TemporaryDirectory() as directory:
        for number in range(20):
            path = os.path.join(directory, str(number))
            with open(path, "w") as file:
                file.write("x")
            os.stat(path)


def one_round(kernel: mp.Kernel, mechanism: str) -> tuple[int, list[str]]:
    """Attach, count for a moment, detach: how many functions were attached, and what was wrong."""
    functions = kernel.functions("*").attachable()
    if mechanism in ("trampoline", "kprobe"):
        functions = functions.take(range(0, len(functions), max(1, len(functions) // N_SINGLES)))
    wrong: list[str] = []
    with mp.attach(count, functions, mechanisms=mechanism, kernel=kernel) as attachment:
        report = attachment.report
        if report.requested != report.attached + len(report.skipped) + len(report.failed):
            wrong.append(f"{mechanism}: {report.requested} requested, and {report.attached} attached: the rest is lost")
        before = list(attachment.totals(calls))
        end = time.monotonic() + SECONDS_ATTACHED
        while time.monotonic() < end:
            workload()
            now = list(attachment.totals(calls))
            if any(later < earlier for earlier, later in zip(before, now, strict=True)):
                wrong.append(f"{mechanism}: a count fell")
            before = now
        if not sum(before):
            wrong.append(f"{mechanism}: nothing was counted")
    return report.attached, wrong


def growth(seen: list[dict[str, int]]) -> list[str]:
    """What grew from the second third to the last."""
    third = len(seen) // 3
    found = []
    for name in seen[0]:
        middle = median(one[name] for one in seen[third : 2 * third])
        last = median(one[name] for one in seen[-third:])
        print(f"{name:12} {seen[0][name]:9,} → {middle:11,.0f} → {last:11,.0f} KiB")
        if last > middle + SLACK_KIB + SLACK * middle:
            found.append(f"{name} grew from {middle:,.0f} to {last:,.0f} KiB")
    return found


def main() -> int:
    """Rounds until the time is up; what was wrong, and counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    kernel = mp.Kernel()
    mechanisms = [name for name in MECHANISMS if kernel.has(name)]
    before, wrong, seen, n_attached = leftovers.take(), list[str](), list[dict[str, int]](), 0
    while time.monotonic() < end or len(seen) < 3:
        with ExitStack() as stack:
            for words in other_tracers():
                stack.enter_context(subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            for mechanism in mechanisms:
                n, found = one_round(kernel, mechanism)
                n_attached, wrong = n_attached + n, wrong + found
        left = leftovers.wait_until_gone(before)
        wrong += [f"left behind: {one}" for one in left]
        seen.append(memory())
        print(f"round {len(seen)}: {seen[-1]}", flush=True)
    wrong += growth(seen)
    wrong += [f"kernel log: {line}" for line in leftovers.complaints(leftovers.kernel_log())]
    for one in wrong:
        print(one)
    others = ", ".join(words[0] for words in other_tracers()) or "no other tracer"
    what = f"{len(seen)} rounds of {', '.join(mechanisms)} beside {others}, {n_attached:,} functions attached"
    print(f"{what}, {options.minutes:g} minutes on {os.uname().release}: {len(wrong)} findings")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

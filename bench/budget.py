"""Measures the throughput of a workload while all kernel functions are counted, without and with a budget of 5 %.

Runs in a guest: `multiprobe vm --kernel 6.12 --icount -- .venv/bin/python bench/budget.py`. The workload opens, reads,
writes, stats and pipes as fast as it can, and records the number of rounds in each tenth of a second. Prints JSON:
throughput as a fraction of that without probes, over time since attaching began, and at the end. With the budget it
measures twice: the second time, what was hottest is known.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import multiprobe as mp
from multiprobe.instruments.count import count

TICK = 0.1
WORKLOAD = """
import os, sys, time
out = open(sys.argv[1], "w", buffering=1)
r, w = os.pipe()
path = sys.argv[1] + ".data"
n, began = 0, time.monotonic()
while True:
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.write(fd, b"x" * 100); os.lseek(fd, 0, 0); os.read(fd, 100); os.fstat(fd); os.close(fd)
    os.write(w, b"y"); os.read(r, 1); os.getppid(); os.stat("/proc/self/status")
    n += 1
    now = time.monotonic()
    if now - began >= float(sys.argv[2]):
        out.write(f"{now} {n / (now - began)}\\n")
        n, began = 0, now
"""


class Workload:
    """The workload, running; `rates(since)` are its rounds a second in each tick since then."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory()
        self._log = Path(self._directory.name, "log")
        self._process = subprocess.Popen([sys.executable, "-c", WORKLOAD, str(self._log), str(TICK)])

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_running(self) -> None:
        while not self._log.exists() or len(self._log.read_text().splitlines()) < 5:
            if self._process.poll() is not None:
                raise SystemExit("the workload ended")
            time.sleep(TICK)

    def rates(self, since: float, until: float = float("inf")) -> list[tuple[float, float]]:
        pairs = [tuple(map(float, line.split())) for line in self._log.read_text().splitlines() if line.count(" ") == 1]
        return [(at - since, rate) for at, rate in pairs if since + TICK < at < until]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._directory.cleanup()


def say(**figures: object) -> None:
    print(json.dumps(figures), flush=True)


def measure(workload: Workload, functions: object, *, usual: float, budget: float | None, seconds: float) -> None:
    """Attach, let it run for so long, detach; what the workload did meanwhile."""
    began = time.monotonic()
    with mp.attach(count, functions, limits=mp.Limits(budget=budget)) as attachment:
        attached = time.monotonic()
        own = time.process_time()
        time.sleep(seconds)
        ended = time.monotonic()
        own = time.process_time() - own
        report, timeline = attachment.report, workload.rates(began, ended)
        missed = attachment.missed()
    settled = [rate for at, rate in timeline if at > attached - began + seconds / 2]
    say(
        budget=budget,
        functions=report.attached,
        attached_after=round(attached - began, 2),
        throughput=round(statistics.mean(settled) / usual, 4),
        own_cpu_share=round(own / seconds, 4),
        n_dropped=len(report.dropped),
        last_drop_after=round(max((d.seconds for d in report.dropped), default=0.0), 2),
        spending=report.budget,
        hottest=[str(drop) for drop in sorted(report.dropped, key=lambda d: -d.rate)[:5]],
        missed={cause: n for cause, n in missed.items() if n},
        timeline=[[round(at, 1), round(rate / usual, 3)] for at, rate in timeline[:: max(1, len(timeline) // 40)]],
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--pattern", default="*")
    options.add_argument("--seconds", type=float, default=2.0)
    options.add_argument("--budget", type=float, default=0.05)
    chosen = options.parse_args()
    functions = mp.Kernel().functions(chosen.pattern).attachable()
    for budget in (None, 0.5):
        mp.attach(count, functions.take(range(10)), limits=mp.Limits(budget=budget)).close()  # compiled and cached
    workload = Workload()
    try:
        workload.wait_until_running()
        began = time.monotonic()
        time.sleep(2.0)
        usual = statistics.mean(rate for _, rate in workload.rates(began))
        say(rounds_a_second=round(usual, 1), cpus=os.cpu_count())
        for budget in (None, chosen.budget, chosen.budget):
            measure(workload, functions, usual=usual, budget=budget, seconds=chosen.seconds)
            time.sleep(0.5)
    finally:
        workload.close()


if __name__ == "__main__":
    main()

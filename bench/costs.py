"""Measures the cost of attaching, detaching and a hit, by mechanism and side: the figures of `links/plan/costs.py`.

Runs in a guest whose clocks count instructions: `multiprobe vm --kernel 7.3 --icount -- .venv/bin/python
bench/costs.py`. A nanosecond is then one instruction of the whole guest, and timers take the time that they would take
at 1 GHz. Prints JSON lines: for each mechanism and side the instructions per function to attach and to detach, and per
call above an unprobed call; and the instructions of one iteration of an empty Python loop.
"""

from __future__ import annotations

import argparse
import json
import os
import time

import multiprobe as mp
from multiprobe.functions.sets import FunctionSet
from multiprobe.kernel.mechanism import MECHANISMS, Mechanism
from multiprobe.links.plan.usable import paired_mechanisms, usable_mechanisms

HIT = "__task_pid_nr_ns"  # getppid() calls it, once
SIDES = ("entry", "return", "session")


@mp.program
def empty(ctx):
    return


def now() -> int:
    return time.perf_counter_ns()


def per_call(n: int) -> float:
    """Instructions of one getppid() with the loop around it: the least of three runs."""
    getppid = os.getppid
    best = 0.0
    for _ in range(3):
        began = now()
        for _ in range(n):
            getppid()
        spent = (now() - began) / n
        best = min(best or spent, spent)
    return best


def per_turn(n: int) -> float:
    """Instructions of one turn of an empty loop."""
    began = now()
    for _ in range(n):
        pass
    return (now() - began) / n


def measure(
    functions: FunctionSet, mechanism: str, when: str, without: tuple[str, ...], calls: int
) -> dict[str, float]:
    """Instructions per function to attach and to detach, and per hit."""
    options = {"when": when, "mechanisms": mp.Mechanisms(mechanism, without, max_singles=0)}
    with mp.attach(empty, functions.take(range(4)), **options):  # compiled and cached
        pass
    began = now()
    attachment = mp.attach(empty, functions, **options)
    attached = now()
    n = attachment.report.attached
    attachment.close()
    detached = now()
    plain = per_call(calls)
    with mp.attach(empty, [HIT], **options):
        probed = per_call(calls)
    return {
        "functions": n,
        "attach": (attached - began) / n,
        "detach": (detached - attached) / n,
        "hit": probed - plain,
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--batch", type=int, default=4000, help="functions for those that attach batches")
    options.add_argument("--singles", type=int, default=40, help="functions for those that attach one by one")
    options.add_argument("--calls", type=int, default=3000)
    options.add_argument("--mechanism", choices=tuple(MECHANISMS), action="append", help="only these")
    chosen = options.parse_args()
    kernel = mp.Kernel()
    print(json.dumps({"turn": per_turn(100_000)}), flush=True)
    everything = kernel.functions("vmlinux:*").attachable(kernel.offers & ~Mechanism.KPROBE)
    for when in SIDES:
        usable = usable_mechanisms(kernel, when=when)
        for mechanism, bit in MECHANISMS.items():
            if not bit & usable or (chosen.mechanism and mechanism not in chosen.mechanism):
                continue
            able = everything.attachable(bit, when=when).attachable(Mechanism.TRAMPOLINE, when=when)
            is_single = mechanism in ("trampoline", "kprobe")
            step = max(1, len(able) // (chosen.singles if is_single else chosen.batch))
            functions = able.take(range(0, len(able), step))
            for without in ((), ("fsession",)) if when == "session" and mechanism == "trampoline" else ((),):
                is_paired = bool(paired_mechanisms(kernel, when=when, has_fsession=not without) & bit)
                if without and paired_mechanisms(kernel, when=when) & bit:
                    continue  # it is paired anyway
                figures = measure(functions, mechanism, when, without, chosen.calls)
                words = {"mechanism": mechanism, "when": when, "paired": is_paired, "kernel": kernel.release}
                print(json.dumps(words | {name: round(number) for name, number in figures.items()}), flush=True)


if __name__ == "__main__":
    main()

"""Measures attaching trampolines in batches, and functions one by one, relative to what the kernel needs.

Runs in a guest: `multiprobe vm --kernel 7.3 -- .venv/bin/python bench/trampolines.py`. Batches are compared with the
two raw system calls on the same BTF ids, alternately; single kprobes and trampolines with the same ones attached and
detached sequentially. For those, `idle` is the fraction of the time during which no CPU was busy: the kernel waited for
grace periods, under locks that admit one function at a time. Prints JSON lines.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import struct
import time
from array import array
from collections.abc import Callable
from typing import Any

import multiprobe as mp
from multiprobe.functions.sets import FunctionSet
from multiprobe.kernel.mechanism import Mechanism
from raw import LINK_CREATE, PROG_LOAD, RETURN_0, raw_bpf

PROG_TYPE_TRACING, TRACE_FENTRY_MULTI = 26, 59


@mp.program
def empty(ctx):
    return


def say(**figures: Any) -> None:
    print(json.dumps(figures), flush=True)


# A batch


def raw_attach(ids: array[int]) -> tuple[float, float]:
    """(seconds to attach, to detach) by nothing but the two system calls."""
    insns, licence = ctypes.create_string_buffer(RETURN_0, 16), ctypes.create_string_buffer(b"GPL")
    began = time.perf_counter()
    head = struct.pack("=IIQQ", PROG_TYPE_TRACING, 2, ctypes.addressof(insns), ctypes.addressof(licence))
    prog = raw_bpf(PROG_LOAD, head + struct.pack("=IIQII16sII", 0, 0, 0, 0, 0, b"raw", 0, TRACE_FENTRY_MULTI))
    attr = struct.pack("=IIIIQQI4x", prog, 0, TRACE_FENTRY_MULTI, 0, ids.buffer_info()[0], 0, len(ids))
    link = raw_bpf(LINK_CREATE, attr)
    attached = time.perf_counter()
    os.close(link)
    os.close(prog)
    return attached - began, time.perf_counter() - attached


def our_attach(choose: Callable[[], FunctionSet]) -> tuple[float, float, float, int]:
    """(seconds to choose and attach, to attach, to detach, how many)."""
    began = time.perf_counter()
    functions = choose()
    chosen = time.perf_counter()
    attachment = mp.attach(empty, functions, mechanisms="tracing_multi")
    attached = time.perf_counter()
    attachment.close()
    return attached - began, attached - chosen, time.perf_counter() - attached, attachment.report.attached


def everything() -> FunctionSet:
    return mp.Kernel().functions("vmlinux:*")


def batch(runs: int) -> None:
    """fentry.multi on all safe functions."""
    functions = everything().attachable(Mechanism.TRACING_MULTI)
    our_attach(lambda: functions.take(range(10)))  # compiled and cached
    our_attach(lambda: functions)  # what this kernel refuses is known
    with mp.attach(empty, functions, mechanisms="tracing_multi") as attachment:
        refused = {failure.function for failure in attachment.report.failed}
        skipped = {refusal.request for refusal in attachment.report.skipped}
    left = functions.where(bytes(functions.label(place) not in refused | skipped for place in range(len(functions))))
    ids = left.btf_ids()
    lines = []
    for _ in range(runs):
        raw, raw_detach = raw_attach(ids)
        whole, ours, detach, n = our_attach(everything)
        assert n == len(ids)
        lines.append((raw, raw_detach, whole, ours, detach))
        say(bench="batch", functions=n, raw=raw, raw_detach=raw_detach, ours=ours, with_choosing=whole, detach=detach)
    say(
        bench="batch",
        type="ratio",
        attach=statistics.median(ours / raw for raw, _, _, ours, _ in lines),
        with_choosing=statistics.median(whole / raw for raw, _, whole, _, _ in lines),
        detach=statistics.median(detach / raw for _, raw, _, _, detach in lines),
    )


# One by one


def busy() -> tuple[float, float]:
    """(clock ticks of all CPUs since boot, those of them idle)."""
    with open("/proc/stat") as file:
        ticks = [int(field) for field in file.readline().split()[1:9]]
    return float(sum(ticks)), float(ticks[3] + ticks[4])


class Watch:
    """Times a block: `seconds`, and `idle`, the share of it that no CPU worked."""

    def __enter__(self) -> Watch:
        self._before, self._began = busy(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._began
        ticks, idle = (now - then for now, then in zip(busy(), self._before, strict=True))
        self.idle = idle / ticks if ticks else 0.0


def one_by_one(functions: FunctionSet, mechanism: str) -> tuple[Watch, Watch]:
    """Attach and detach one function after another, each by itself, with nothing of ours in the way but the calls."""
    from multiprobe.links.mechanisms import kprobe, trampoline
    from multiprobe.syscalls import bpf
    from multiprobe.syscalls.fd import FileDescriptor
    from multiprobe.uapi.bpf import AttachType, ProgType

    pmu, addresses, ids = kprobe.pmu(), functions.addresses(), functions.btf_ids()
    held: list[list[FileDescriptor]] = []
    with Watch() as attach:
        shared = bpf.prog_load(ProgType.KPROBE, RETURN_0, name="empty")
        for address, btf_id in zip(addresses, ids, strict=True):
            if mechanism == "kprobe":
                held.append(kprobe.open_probe(shared, address, 0, is_return=False, pmu=pmu))
            else:
                kind = AttachType.TRACE_FENTRY
                prog = bpf.prog_load(
                    ProgType.TRACING, RETURN_0, name="empty", expected_attach_type=kind, attach_btf_id=btf_id
                )
                held.append([trampoline.open_link(prog, 0, when="entry"), prog])
    with Watch() as detach:
        for descriptors in held:
            for fd in descriptors:
                fd.close()
        shared.close()
    return attach, detach


def together(functions: FunctionSet, mechanism: str) -> tuple[Watch, Watch]:
    with Watch() as attach:
        attachment = mp.attach(empty, functions, mechanisms=mp.Mechanisms(mechanism, max_singles=0))
    assert attachment.report.attached == len(functions)
    with Watch() as detach:
        attachment.close()
    return attach, detach


def singles(mechanism: str, n: int) -> None:
    """`n` functions by one mechanism, one after another and all by `mp.attach`."""
    bit = {"kprobe": Mechanism.KPROBE, "trampoline": Mechanism.TRAMPOLINE}[mechanism]
    chosen = mp.Kernel().functions("vmlinux:ext4*", "vmlinux:tcp*", "vmlinux:ip*", "vmlinux:xfs*", "vmlinux:net*")
    both = chosen.attachable(bit).attachable(Mechanism.TRAMPOLINE)
    functions = both.take(range(min(n, len(both))))
    together(functions.take(range(3)), mechanism)  # compiled and cached
    totals = []
    for name, way in (("one by one", one_by_one), ("mp.attach", together)):
        attach, detach = way(functions, mechanism)
        totals.append(attach.seconds + detach.seconds)
        say(
            bench=mechanism,
            way=name,
            functions=len(functions),
            attach=attach.seconds,
            attach_idle=attach.idle,
            detach=detach.seconds,
            detach_idle=detach.idle,
        )
    say(bench=mechanism, type="ratio", attach_and_detach=totals[1] / totals[0])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--kprobes", type=int, default=1000, help="single kprobes; 0 leaves them out")
    options.add_argument("--trampolines", type=int, default=150, help="single trampolines; 0 leaves them out")
    chosen = options.parse_args()
    if chosen.runs and mp.Kernel().has("tracing_multi"):
        batch(chosen.runs)
    for mechanism, n in (("kprobe", chosen.kprobes), ("trampoline", chosen.trampolines)):
        if n:
            singles(mechanism, n)


if __name__ == "__main__":
    main()

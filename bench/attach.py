"""Measures `mp.attach` on all functions of the kernel, relative to the two raw system calls that it has to make.

Runs in a guest: `multiprobe vm --kernel 6.12 -- .venv/bin/python bench/attach.py`. Both attach the same program code to
the same addresses, alternately; the result is the ratio of the times from call to return. Prints JSON lines.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import struct
import time
from array import array

import multiprobe as mp
from multiprobe.functions.sets import FunctionSet
from multiprobe.instruments.count import count
from raw import LINK_CREATE, PROG_LOAD, PROG_TYPE_KPROBE, RETURN_0, raw_bpf

TRACE_KPROBE_MULTI = 42


@mp.program
def empty(ctx):
    return


def raw_attach(addresses: array[int]) -> tuple[float, float]:
    """(seconds to attach, to detach) by nothing but the two system calls."""
    import os

    insns, licence = ctypes.create_string_buffer(RETURN_0, 16), ctypes.create_string_buffer(b"GPL")
    began = time.perf_counter()
    attr = struct.pack(
        "=IIQQIIQII16sII", PROG_TYPE_KPROBE, 2, ctypes.addressof(insns), ctypes.addressof(licence), 0, 0, 0, 0, 0,
        b"raw", 0, TRACE_KPROBE_MULTI,
    )  # fmt: skip
    prog = raw_bpf(PROG_LOAD, attr)
    link = raw_bpf(
        LINK_CREATE,
        struct.pack("=IIIIIIQQQ", prog, 0, TRACE_KPROBE_MULTI, 0, 0, len(addresses), 0, addresses.buffer_info()[0], 0),
    )
    attached = time.perf_counter()
    os.close(link)
    os.close(prog)
    return attached - began, time.perf_counter() - attached


def our_attach(program: object, functions: FunctionSet) -> tuple[float, float, dict[str, float]]:
    """(seconds to attach, to detach, where they went) by `mp.attach`."""
    began = time.perf_counter()
    attachment = mp.attach(program, functions, mechanisms="kprobe_multi")
    attached = time.perf_counter()
    attachment.close()
    return attached - began, time.perf_counter() - attached, attachment.report.timings


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--pattern", default="*")
    chosen = options.parse_args()
    functions = mp.Kernel().functions(chosen.pattern).attachable()
    addresses = array("Q", sorted(functions.addresses()))
    for name, program in (("empty", empty), ("count", count)):
        our_attach(program, functions.take(range(10)))  # compiled and cached
        ratios, ours, raws = [], [], []
        for _ in range(chosen.runs):
            raw, raw_detach = raw_attach(addresses)
            mine, detach, timings = our_attach(program, functions)
            ratios.append(mine / raw)
            ours.append(mine)
            raws.append(raw)
            line = {"program": name, "functions": len(addresses), "raw": raw, "raw_detach": raw_detach, "ours": mine}
            print(json.dumps(line | {"detach": detach, "timings": timings}), flush=True)
        print(
            json.dumps(
                {
                    "type": "ratio",
                    "program": name,
                    "attach": statistics.median(ratios),
                    "raw_seconds": statistics.median(raws),
                    "our_seconds": statistics.median(ours),
                }
            )
        )


if __name__ == "__main__":
    main()

"""Measures `mp.attach` on all functions of a library, relative to the two raw system calls that it has to make.

Runs on the machine itself, on a library that it generates with gcc: `.venv/bin/python bench/user.py`. Both attach the
same program code to the same offsets, alternately, while a process has the library mapped; the result is the ratio of
the times from call to return. Prints JSON lines. The kernel takes 0.4 ms in some calls of link_create for 1,000
functions and 6 to 20 ms in others, whoever calls; so the least times are given, too.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from array import array

import multiprobe as mp
from raw import LINK_CREATE, PROG_LOAD, PROG_TYPE_KPROBE, RETURN_0, raw_bpf

TRACE_UPROBE_MULTI = 48
NAMES = ("raw", "multiprobe")
FUNCTION = ".globl f{0}\n.type f{0}, @function\nf{0}: push %rbp\nmov %rsp, %rbp\npop %rbp\nret\n.size f{0}, . - f{0}\n"
MAPPING = "import ctypes, sys; ctypes.CDLL(sys.argv[1]); print(flush=True); sys.stdin.read()"


@mp.program
def empty(ctx):
    return


def raw_attach(path: str, offsets: array[int]) -> tuple[float, float]:
    """(seconds to attach, to detach) by nothing but the two system calls."""
    insns, licence = ctypes.create_string_buffer(RETURN_0, 16), ctypes.create_string_buffer(b"GPL")
    name = ctypes.create_string_buffer(os.fsencode(path))
    began = time.perf_counter()
    attr = struct.pack(
        "=IIQQIIQII16sII", PROG_TYPE_KPROBE, 2, ctypes.addressof(insns), ctypes.addressof(licence), 0, 0, 0, 0, 0,
        b"raw", 0, TRACE_UPROBE_MULTI,
    )  # fmt: skip
    prog = raw_bpf(PROG_LOAD, attr)
    lists = (ctypes.addressof(name), offsets.buffer_info()[0], 0, 0)
    link = raw_bpf(LINK_CREATE, struct.pack("=IIIIQQQQIII", prog, 0, TRACE_UPROBE_MULTI, 0, *lists, len(offsets), 0, 0))
    attached = time.perf_counter()
    os.close(link)
    os.close(prog)
    return attached - began, time.perf_counter() - attached


def attach(functions: mp.UserFunctionSet) -> tuple[float, float]:
    """(seconds to attach, to detach) by multiprobe."""
    began = time.perf_counter()
    attachment = mp.attach(empty, functions)
    attached = time.perf_counter()
    assert attachment.report.attached == len(functions)
    attachment.detach()
    return attached - began, time.perf_counter() - attached


def make_library(folder: str, n: int) -> str:
    """A library of `n` functions."""
    path = f"{folder}/library{n}.so"
    source = ".text\n" + "".join(map(FUNCTION.format, range(n)))
    subprocess.run(["gcc", "-shared", "-x", "assembler", "-o", path, "-"], input=source, text=True, check=True)
    return path


def measure(path: str, runs: int) -> None:
    functions = mp.Binary(path).functions("f*", "!frame_dummy")
    offsets = functions.file_offsets()
    with subprocess.Popen([sys.executable, "-c", MAPPING, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as user:
        assert user.stdout is not None
        user.stdout.readline()
        pairs = [(raw_attach(path, offsets), attach(functions)) for _ in range(runs)]
        user.communicate()
    for side, step in enumerate(("attach", "detach")):
        raw, ours = (statistics.median(pair[who][side] for pair in pairs) for who in (0, 1))
        ratio = statistics.median(pair[1][side] / pair[0][side] for pair in pairs)
        least = {f"{name}_min_ms": round(1e3 * min(one[n][side] for one in pairs), 2) for n, name in enumerate(NAMES)}
        figures = {
            "raw_ms": round(1e3 * raw, 2),
            "multiprobe_ms": round(1e3 * ours, 2),
            "ratio": round(ratio, 2),
            **least,
        }
        print(json.dumps({"functions": len(functions), "step": step, **figures}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--functions", type=int, nargs="+", default=[1_000, 50_000])
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for number in options.functions:
            measure(make_library(scratch, number), options.runs)

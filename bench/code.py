"""Counts the instructions of typical probes, and of the same probes in C compiled by clang -O2.

Runs anywhere with clang and the kernel's BTF (`python bench/code.py`; in a guest for another kernel's). The C sources
are in bench/code/: "same" has all features of ours (programs inactive until everything is attached; failed reads and
full maps counted), "plain" has none of them. Instructions are 8-byte slots of the loaded program, as the kernel counts
them; nothing is attached. Prints JSON lines.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import multiprobe as mp
from multiprobe.compiler.compiling import compile_program
from multiprobe.compiler.program import Program
from multiprobe.compiler.shape import Shape
from multiprobe.elf import contents

SOURCES = Path(__file__).with_name("code")
CLANG = ("clang", *(f"clang-{version}" for version in range(30, 13, -1)))

calls = mp.PerFunction(mp.u64)
total = mp.PerFunction(mp.u64)
sizes = mp.Histogram()
reads = mp.Hash((mp.u64, mp.u32, mp.u32), mp.u64)
failures = mp.Hash((mp.u32, mp.i32), mp.u64)


class Opened(mp.Event):
    time: mp.u64
    pid: mp.u32
    flags: mp.i32
    comm: mp.string(16)
    name: mp.string(64)


opens = mp.RingBuffer(Opened)


@mp.program
def count(ctx):
    calls[ctx.function] += 1


@mp.program(when="session")
def latency(ctx):
    if not ctx.is_return:
        ctx.session = ctx.time
        return
    began = ctx.session
    if began:
        total[ctx.function] += ctx.time - began


@mp.program
def measure(ctx):
    sizes.add(ctx.arg(2))


@mp.program
def report(ctx):
    if ctx.pid == ctx.tid and mp.i32(ctx.arg(0)) < 0:
        opens.send(time=ctx.time, pid=ctx.pid, flags=mp.i32(ctx.arg(2)), comm=ctx.comm, name=mp.user_string(ctx.arg(1)))


@mp.program
def walk(ctx):
    file = ctx.arg(0, "struct file *")
    inode = file.f_inode
    if inode.i_mode & 0o170000 == 0o100000:
        reads[inode.i_ino, inode.i_sb.s_dev, file.f_cred.uid.val] += ctx.arg(2)


@mp.program(when="return")
def fail(ctx):
    error = mp.i32(ctx.ret)
    if -4095 <= error < 0:
        failures[ctx.pid, error] += 1


PROBES: dict[str, tuple[Program, str, str]] = {
    "count": (count, "tracing", "entry"),
    "latency": (latency, "tracing", "session"),
    "sizes": (measure, "kprobe_multi", "entry"),
    "opens": (report, "kprobe_multi", "entry"),
    "walk": (walk, "kprobe_multi", "entry"),
    "errors": (fail, "kprobe_multi", "return"),
}
"""Name of the C source: our program, the kind of hook, the side."""


def ours(name: str, kernel: mp.Kernel) -> bytes:
    """The instructions of our program."""
    program, context, when = PROBES[name]
    shape = Shape(function_from="cookie" if context == "tracing" else "ip")
    return compile_program(program, context=context, when=when, shape=shape, is_cached=False, kernel=kernel).insns


def clang() -> str | None:
    """The newest clang that is installed."""
    return next((found for name in CLANG[1:] + CLANG[:1] if (found := shutil.which(name))), None)


def theirs(name: str, compiler: str, *options: str) -> bytes:
    """The instructions of the same in C."""
    with tempfile.TemporaryDirectory() as directory:
        made = Path(directory, "program.o")
        command = [compiler, "-O2", "-g", "-target", "bpf", "-mcpu=v3", *options, "-c", f"{name}.c", "-o", str(made)]
        subprocess.run(command, cwd=SOURCES, check=True)
        found = contents(made.read_bytes())
    (insns,) = [data for section, data in found.items() if ".multi" in section and not section.startswith(".")]
    return insns


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("names", nargs="*", default=list(PROBES))
    options.add_argument("--show", action="store_true", help="print the instructions too, by llvm-objdump")
    chosen = options.parse_args()
    compiler, kernel = clang(), mp.Kernel()
    if compiler is None:
        print(json.dumps({"bench": "code", "peer": None, "why": "no clang is installed"}))
    for name in chosen.names:
        counts = {"ours": len(ours(name, kernel)) // 8}
        if compiler:
            counts |= {"same": len(theirs(name, compiler)) // 8, "plain": len(theirs(name, compiler, "-DPLAIN")) // 8}
        ratio = {peer: round(counts["ours"] / counts[peer], 2) for peer in ("same", "plain") if peer in counts}
        print(json.dumps({"bench": "code", "probe": name, "instructions": counts, "ratio": ratio}), flush=True)
        if chosen.show:
            print(shown(ours(name, kernel)))


def shown(insns: bytes) -> str:
    """Instructions as llvm-mc writes them."""
    text = " ".join(f"0x{byte:02x}" for byte in insns)
    command = [shutil.which("llvm-mc") or "llvm-mc-16", "--disassemble", "-triple=bpfel", "-mcpu=v3"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()

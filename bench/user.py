"""Measures functions of programs on the machine itself, beside the bare system calls, bpftrace, perf and nm.

As root, with gcc, and for bpftrace and perf with tracefs (`unshare -m`, then `mount -t tracefs t /sys/kernel/tracing`):
`.venv/bin/python bench/user.py [PART …] [--file PATH …]`; without a part all of them.
Prints JSON lines. Whoever is compared runs in turn.

attach: `mp.attach` on all functions of a generated library, relative to the two raw system calls that it has to make:
    both attach the same program code to the same offsets, while a process has the library mapped. `ratio` is the median
    of the ratios of pairs. The kernel takes 0.4 ms in some calls of link_create for 1,000 functions and 6 to 20 ms in
    others, whoever calls; so the least times are given, too.
tools: whole commands that count the functions of the library: from their start to that of the command under them, and
    from then to their end
hits: nanoseconds that a probe adds to a call of a small function in a loop
symbols: reading and selecting all functions of large files (`--file`), and whole commands that look one up
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable
from subprocess import PIPE

import multiprobe as mp
from multiprobe.instruments.count import count
from raw import LINK_CREATE, PROG_LOAD, PROG_TYPE_KPROBE, RETURN_0, raw_bpf

TRACE_UPROBE_MULTI = 48
NAMES = ("raw", "multiprobe")
FUNCTION = ".globl f{0}\n.type f{0}, @function\nf{0}: push %rbp\nmov %rsp, %rbp\npop %rbp\nret\n.size f{0}, . - f{0}\n"
MAPPING = "import ctypes, sys; ctypes.CDLL(sys.argv[1]); print(flush=True); sys.stdin.read()"

PARTS = ("attach", "tools", "hits", "symbols")
NOW = f"{shutil.which('date')} +%s.%N"
MOST_AT_ONCE = 100
"""A command of `perf probe` takes 128."""
TOOL = os.environ | {"BPFTRACE_MAX_PROBES": "100000"}
FIRST_INSTRUCTIONS = {"push": "push %rbp; pop %rbp", "lea": "lea (%rdi), %rax"}
"""The kernel emulates the one, and executes the other one elsewhere."""
LOOP = r"""
#include <stdio.h>
#include <time.h>
enum { CALLS = 20000 };
void work(void);
__asm__(".text; .type work, @function; work: %s; ret; .size work, . - work");
int main(void) {
    struct timespec before, after;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    for (int i = 0; i < CALLS; i++) work();
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    printf("ns %%f\n", ((after.tv_sec - before.tv_sec) * 1e9 + after.tv_nsec - before.tv_nsec) / CALLS);
}
"""
SELECT = """
import sys, time
import multiprobe as mp
mp.Binary, mp.UserFunctionSet
began = time.perf_counter()
functions = mp.Binary(sys.argv[1]).functions("*")
print(len(functions), time.perf_counter() - began)
"""


@mp.program
def empty(ctx):
    return


def raw_link(path: str, offsets: array[int]) -> tuple[int, int]:
    """The descriptors of a link on these offsets and of its program, by nothing but the two system calls."""
    insns, licence = ctypes.create_string_buffer(RETURN_0, 16), ctypes.create_string_buffer(b"GPL")
    name = ctypes.create_string_buffer(os.fsencode(path))
    attr = struct.pack(
        "=IIQQIIQII16sII", PROG_TYPE_KPROBE, 2, ctypes.addressof(insns), ctypes.addressof(licence), 0, 0, 0, 0, 0,
        b"raw", 0, TRACE_UPROBE_MULTI,
    )  # fmt: skip
    prog = raw_bpf(PROG_LOAD, attr)
    lists = (ctypes.addressof(name), offsets.buffer_info()[0], 0, 0)
    link = raw_bpf(LINK_CREATE, struct.pack("=IIIIQQQQIII", prog, 0, TRACE_UPROBE_MULTI, 0, *lists, len(offsets), 0, 0))
    return link, prog


def raw_attach(path: str, offsets: array[int]) -> tuple[float, float]:
    """(seconds to attach, to detach) by the raw calls."""
    began = time.perf_counter()
    descriptors = raw_link(path, offsets)
    attached = time.perf_counter()
    for descriptor in descriptors:
        os.close(descriptor)
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
    source = '.section .note.GNU-stack,"",@progbits\n.text\n' + "".join(map(FUNCTION.format, range(n)))
    subprocess.run(
        ["gcc", "-shared", "-nostdlib", "-x", "assembler", "-o", path, "-"], input=source, text=True, check=True
    )
    return path


def measure(path: str, runs: int) -> None:
    functions = mp.Binary(path).functions("f*")
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
        show(functions=len(functions), step=step, **figures)


def measure_tools(path: str, runs: int) -> None:
    """The tools that are here, on all functions of the library."""
    pattern, listed = f"{path}:f*", [f"f{n}" for n in range(len(mp.Binary(path).functions("f*")))]
    tools = {"multiprobe": [sys.executable, "-m", "multiprobe", "count", pattern, "--"]}
    if shutil.which("bpftrace"):
        tools["bpftrace"] = ["bpftrace", "-e", f"uprobe:{pattern} {{ @[func] = count(); }}", "-c"]
    if shutil.which("perf"):
        tools["perf probe"] = ["perf", "probe", "-q", "-x", path]
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in tools}
    for _ in range(runs):
        for name, words in tools.items():
            found[name].append(_with_perf(words, listed) if name == "perf probe" else _around_a_command(words))
    for name, times in found.items():
        before, after = (round(statistics.median(one[side] for one in times), 3) for side in (0, 1))
        show(functions=len(listed), tool=name, until_attached_s=before, from_then_to_the_end_s=after)


def _around_a_command(words: list[str]) -> tuple[float, float]:
    began = time.time()
    command = [NOW] if words[0] == "bpftrace" else NOW.split()
    run = subprocess.run([*words, *command], capture_output=True, text=True, env=TOOL, check=True)
    ended = time.time()
    now = next(float(line) for line in run.stdout.splitlines() if line.startswith("1") and "." in line)
    return now - began, ended - now


def _with_perf(words: list[str], functions: list[str]) -> tuple[float, float]:
    """Making the probes and enabling them; removing them."""
    began = time.time()
    try:
        for first in range(0, len(functions), MOST_AT_ONCE):
            wanted = [word for name in functions[first : first + MOST_AT_ONCE] for word in ("-a", name)]
            subprocess.run([*words, *wanted], capture_output=True, check=True)
        counting = ["perf", "stat", "-e", "probe_library*:*", *NOW.split()]
        run = subprocess.run(counting, capture_output=True, text=True, check=True)
        now = float(run.stdout.split()[0])
    finally:
        subprocess.run(["perf", "probe", "-q", "-d", "probe_library*:*"], stderr=PIPE, check=False)
    return now - began, time.time() - now


def measure_hits(folder: str, runs: int) -> None:
    """What each probe adds to a call, by the function's first instruction."""
    for first, text in FIRST_INSTRUCTIONS.items():
        program = f"{folder}/loop-{first}"
        flags = ["gcc", "-O1", "-x", "c", "-o", program, "-"]
        subprocess.run(flags, input=LOOP % text, text=True, check=True)
        work = mp.Binary(program).functions("work")
        cases: dict[str, Callable[[], float]] = {
            "no probe": lambda program=program: _loop(program),
            "raw, empty": lambda program=program, work=work: _raw_loop(program, work.file_offsets()),
            "empty": lambda program=program, work=work: _probed_loop(program, work, empty),
            "count": lambda program=program, work=work: _probed_loop(program, work, count),
            "latency": lambda program=program: _tool_loop(program, "latency"),
        }
        if shutil.which("bpftrace"):
            cases["bpftrace count"] = lambda program=program: _bpftrace_loop(program)
        rounds = [{name: run() for name, run in cases.items()} for _ in range(runs)]
        for name in cases:
            added = statistics.median(one[name] - one["no probe"] for one in rounds)
            ratio = statistics.median(one[name] / one["raw, empty"] for one in rounds)
            show(first_instruction=first, probe=name, added_ns=round(added), of_raw=round(ratio, 2))


def _loop(program: str, *before: str) -> float:
    """Nanoseconds of a call."""
    run = subprocess.run([*before, program], capture_output=True, text=True, env=TOOL, check=True)
    return float(next(line for line in run.stdout.splitlines() if line.startswith("ns ")).split()[1])


def _raw_loop(program: str, offsets: array[int]) -> float:
    descriptors = raw_link(program, offsets)
    try:
        return _loop(program)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _probed_loop(program: str, work: mp.UserFunctionSet, probe: mp.Program) -> float:
    with mp.attach(probe, work):
        return _loop(program)


def _tool_loop(program: str, command: str) -> float:
    return _loop(program, sys.executable, "-m", "multiprobe", command, f"{program}:work", "--")


def _bpftrace_loop(program: str) -> float:
    return _loop(program, "bpftrace", "-e", f"uprobe:{program}:work {{ @[func] = count(); }}", "-c")


def measure_symbols(path: str, runs: int) -> None:
    """All functions of a file in a new process, without the start of Python; `nm`; and commands that look one up."""
    name = str(mp.Binary(path).functions("*").attachable()[0].symbol)
    commands = {
        "nm": ["nm", *([] if ".symtab" in mp.Binary(path).sources else ["-D"]), path],
        "multiprobe functions, one": [sys.executable, "-m", "multiprobe", "functions", f"{path}:{name}"],
    }
    if shutil.which("bpftrace"):
        commands["bpftrace -l, one"] = ["bpftrace", "-l", f"uprobe:{path}:{name}"]
    found: dict[str, list[float]] = {"mp.Binary and all its functions": [], **{name: [] for name in commands}}
    for _ in range(runs):
        run = subprocess.run([sys.executable, "-c", SELECT, path], stdout=PIPE, text=True, check=True)
        n, seconds = run.stdout.split()
        found["mp.Binary and all its functions"].append(float(seconds))
        for what, words in commands.items():
            began = time.perf_counter()
            subprocess.run(words, stdout=subprocess.DEVNULL, stderr=PIPE, env=TOOL, check=True)
            found[what].append(time.perf_counter() - began)
    for what, times in found.items():
        show(file=os.path.basename(path), functions=int(n), what=what, seconds=round(statistics.median(times), 3))


def show(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


def large_files() -> list[str]:
    """The libraries and programs of this machine that are measured if none is named."""
    import llvmlite.binding

    library = os.path.join(os.path.dirname(llvmlite.binding.__file__), "libllvmlite.so")
    return [library, *filter(None, [shutil.which("node")])]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--functions", type=int, nargs="+", default=[1_000, 50_000])
    parser.add_argument("--tool-functions", type=int, nargs="+", default=[10, 100, 1_000])
    parser.add_argument("--file", nargs="+")
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    parts = options.parts or PARTS
    with tempfile.TemporaryDirectory() as scratch:
        if "attach" in parts:
            for number in options.functions:
                measure(make_library(scratch, number), options.runs)
        if "tools" in parts:
            for number in options.tool_functions:
                measure_tools(make_library(scratch, number), min(options.runs, 3))
        if "hits" in parts:
            measure_hits(scratch, options.runs)
        if "symbols" in parts:
            for file in options.file or large_files():
                measure_symbols(file, min(options.runs, 5))

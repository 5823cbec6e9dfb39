"""Measures compile times, and those of bpftrace for the same program: whole commands that stop after code generation.

Runs in a guest: `multiprobe vm --kernel 6.12 -- .venv/bin/python bench/compile.py` (with `--icount`: a nanosecond of
"cpu" is an instruction). Ours is Python with a script that compiles one program (`compiled.py`), including Python's
start, the import of LLVM and reading the kernel's types; byte code of modules is compiled in advance, as by an
installation. bpftrace's is `bpftrace --emit-elf`, which ends before loading. "inside": the time in our process from the
program to its instructions: "now" with the import of LLVM and everything else; "first" from the disk cache, in a
process that has used no program before; "again" in the same process. Prints JSON lines, in milliseconds.
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

SCRIPT = Path(__file__).with_name("compiled.py")
PROBES = {
    "count": "kprobe:vfs_read { @[func] = count(); }",
    "histogram": "kprobe:vfs_read /pid > 1/ { @ = hist(arg2); }",
    "walk": "kprobe:vfs_read { $i = ((struct file *)arg0)->f_inode; if (($i->i_mode & 0170000) == 0100000) "
    "{ @[$i->i_ino, $i->i_sb->s_dev] = sum(arg2); } }",
}
"""Our program in `compiled.py`, and the same for bpftrace."""


def run(command: list[str], environment: dict[str, str]) -> tuple[float, float, str]:
    """Seconds that a command took, of which processor time, and what it said; it must succeed."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, said


def measure(name: str, runs: int) -> dict[str, object]:
    """Medians of one probe's figures, all in milliseconds."""
    whole: dict[str, list[tuple[float, float]]] = {"ours": [], "bpftrace": []}
    inside: dict[str, list[float]] = {"now": [], "first": [], "again": []}
    with tempfile.TemporaryDirectory() as directory:
        environment = os.environ | {"MULTIPROBE_CACHE": directory, "PYTHONPYCACHEPREFIX": directory}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        ours = [sys.executable, str(SCRIPT), name]
        peer = ["bpftrace", "--emit-elf", str(Path(directory, "out.o")), "-e", PROBES[name]]
        for way in ("now", "cached"):
            run([*ours, way], environment)
        for _ in range(runs):
            took, cpu, said = run([*ours, "now"], environment)
            whole["ours"].append((took, cpu))
            inside["now"].append(int(said) / 1e6)
            first, *again = map(int, run([*ours, "cached"], environment)[2].split())
            inside["first"].append(first / 1e6)
            inside["again"].append(statistics.median(again) / 1e6)
            if shutil.which("bpftrace"):
                whole["bpftrace"].append(run(peer, environment)[:2])
    return summary(whole, inside)


def summary(whole: dict[str, list[tuple[float, float]]], inside: dict[str, list[float]]) -> dict[str, object]:
    """Medians, and ours over the peer's: of the whole command, and of what goes on inside of it."""
    made: dict[str, dict[str, float]] = {}
    for tool, found in whole.items():
        if found:
            took, cpu = (1e3 * statistics.median(column) for column in zip(*found, strict=True))
            made[tool] = {"whole": round(took, 1), "cpu": round(cpu, 1)}
    parts = {way: round(statistics.median(found), 2) for way, found in inside.items()}
    figures: dict[str, object] = {**made, "inside": parts}
    if "bpftrace" in made:
        peer = made["bpftrace"]
        ratio = {what: round(made["ours"][what] / peer[what], 2) for what in peer}
        figures["ratio"] = ratio | {"inside": round(parts["now"] / peer["whole"], 2)}
    return figures


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=5)
    chosen = options.parse_args()
    for name in PROBES:
        print(json.dumps({"bench": "compile", "probe": name, "ms": measure(name, chosen.runs)}), flush=True)


if __name__ == "__main__":
    main()

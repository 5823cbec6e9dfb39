"""Merging saved runs: processor time and memory for many hosts.

    .venv/bin/python bench/merge.py [--runs 1000] [--functions 2000] [--command count]

Runs anywhere: the runs are made, not measured. Prints JSON lines.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import multiprobe as mp
from multiprobe.runs.host import Host, Moment

MERGE = """
import json, resource, sys, time
import multiprobe as mp
began, used = time.monotonic(), time.process_time()
merged = mp.merge(sys.argv[1:])
print(json.dumps({
    "runs": len(merged.runs), "rows": len(merged.rows), "seconds": round(time.monotonic() - began, 2),
    "processor_seconds": round(time.process_time() - used, 2),
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
}))
"""


def main() -> None:
    """Make the runs, merge them in a process of its own, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--functions", type=int, default=2000)
    parser.add_argument("--command", choices=["count", "latency"], default="count")
    parser.add_argument("--suffix", default=".gz", help="of the files: .gz, .zst, or nothing")
    options = parser.parse_args()
    chosen = random.Random(1)
    with tempfile.TemporaryDirectory() as directory:
        paths = [Path(directory) / f"{n}.jsonl{options.suffix}" for n in range(options.runs)]
        for path in paths:
            make_run(path, options.command, options.functions, chosen).save(path)
        n_bytes = sum(path.stat().st_size for path in paths)
        done = subprocess.run([sys.executable, "-c", MERGE, *paths], capture_output=True, text=True, check=True)
        print(json.dumps({"command": options.command, "file_mb": n_bytes >> 20, **json.loads(done.stdout)}))


def make_run(path: Path, command: str, n_functions: int, chosen: random.Random) -> mp.Run:
    """A run of a host of its own, in which every function was called."""
    names = [f"some_kernel_function_{n}" for n in range(n_functions)]
    rows = [_row(command, name, chosen) for name in names]
    report = {"type": "report", "schema": 1, "requested": n_functions, "attached": n_functions, "seconds": 10.0}
    return mp.Run(
        path=str(path),
        id=path.name,
        command=command,
        host=Host(name=path.name, kernel="6.12"),
        start=Moment(0, 0),
        end=Moment(10**10, 10**10),
        seconds=10.0,
        _report=zlib.compress(json.dumps(report).encode()),
        rows=mp.Table(rows),
        attached=tuple(("", name) for name in names),
    )


def _row(command: str, name: str, chosen: random.Random) -> dict[str, object]:
    calls = chosen.randrange(1, 100_000)
    row: dict[str, object] = {"type": "function", "function": name, "module": "", "address": "0xffffffff81a3c2d0"}
    if command == "count":
        return row | {"calls": calls, "rate": calls / 10, "share": 0.0005}
    histogram = [[1 << bits >> 1, 1 << bits, chosen.randrange(1, calls + 1)] for bits in range(9, 15)]
    row |= {"calls": calls, "running": 0, "total_ns": 1000 * calls, "mean_ns": 1000.0, "p50_ns": 900, "p90_ns": 1500}
    return row | {"p99_ns": 9000, "max_ns": 16_000, "histogram": histogram}


if __name__ == "__main__":
    main()

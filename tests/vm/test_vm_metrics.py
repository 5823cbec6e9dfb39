"""A real Prometheus scrapes a guest that counts: no value falls, and the last is what the command itself printed.

MULTIPROBE_SCRAPE_SECONDS=600 does so for ten minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from conftest import ROOT, TIME_LIMIT, VM
from ports import free_port
from prometheus_server import Prometheus, find_programs

SECONDS = int(os.environ.get("MULTIPROBE_SCRAPE_SECONDS", "30"))
QUIET = 20
"""Seconds at the end in which nothing is counted, so that the last scrape has seen every call."""
WORKLOAD = (
    f"end=$(($(date +%s) + {SECONDS})); while [ $(date +%s) -lt $end ]; do cat /proc/stat >&2; done; sleep {QUIET}"
)


def test_a_guest_is_scraped(tmp_path: Path) -> None:
    port = free_port()
    count = ["count", "vfs_read", "vfs_open", "--command-only", "--json", "--metrics", f"0.0.0.0:{port}"]
    line = [
        *VM,
        "--publish",
        str(port),
        "--",
        sys.executable,
        "-m",
        "multiprobe",
        *count,
        "--",
        "sh",
        "-c",
        f"({WORKLOAD}) 2>/dev/null",
    ]
    program = find_programs(tmp_path)["prometheus"]
    server = Prometheus(program, tmp_path, [f"127.0.0.1:{port}"], interval="2s")
    try:
        done = subprocess.run(
            line, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS + TIME_LIMIT, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        values = server.series("multiprobe_calls_total")
    finally:
        server.close()
    rows = [json.loads(row) for row in done.stdout.splitlines()]
    counted = next(row["calls"] for row in rows if row.get("function") == "vfs_read")
    assert len(set(values)) > 3
    assert values == sorted(values)
    assert values[-1] == counted > 0
    print(f"{len(values)} scrapes in {SECONDS} s, the last of {counted:,} calls")

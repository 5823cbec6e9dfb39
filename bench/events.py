"""Measures events received per second of processor time, and those of bpftrace's printf in the same guest.

Runs in a guest: `multiprobe vm --kernel 6.12 -- .venv/bin/python bench/events.py`. A child process makes a known number
of calls of one function; each tool sends an event with time, process and argument for each call. The result is the
processor time of the receiving process, from before the calls until the last event. Prints JSON lines.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FUNCTION = "__x64_sys_getpgid"
CALLS = "import os, sys\nfor _ in range(int(sys.argv[1])): os.getpgid(0)\n"


def cpu(pid: int) -> float:
    """Seconds of processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def make_calls(n: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", CALLS, str(n)])


def ours(n: int, *, as_objects: bool) -> dict[str, float]:
    """Receive in arrays, or as objects."""
    import multiprobe as mp

    class Called(mp.Event):
        time: mp.u64
        pid: mp.u32
        argument: mp.u64

    called = mp.RingBuffer(Called, size=1 << 22)

    @mp.program
    def report(ctx):
        called.send(time=ctx.time, pid=ctx.pid, argument=ctx.arg(0))

    received, total = 0, 0
    with mp.attach(report, FUNCTION) as attachment:
        reader = attachment.events(called)
        reader.read()  # NumPy is imported
        before = resource.getrusage(resource.RUSAGE_SELF)
        caller = make_calls(n)
        while True:
            is_over = caller.poll() is not None
            if as_objects:
                for event in reader.take(timeout=0.05):
                    total += event.argument & 1
            else:
                found = reader.read(timeout=0.05)
                total += int(found["argument"].sum() & 1)
            if is_over and reader.received + reader.dropped == reader.sent:
                break
            time.sleep(0.02)
        used = resource.getrusage(resource.RUSAGE_SELF)
        received = reader.received
        dropped = reader.dropped
    seconds = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    return {"calls": n, "received": received, "dropped": dropped, "cpu": seconds, "rate": received / seconds}


def bpftrace(n: int) -> dict[str, float]:
    """Receive lines of text, in a file."""
    script = f'kprobe:{FUNCTION} {{ printf("%llu %d %llu\\n", nsecs, pid, arg0); }}'
    with tempfile.TemporaryDirectory() as directory:
        output, complaints = Path(directory, "out"), Path(directory, "err")
        with output.open("wb") as out, complaints.open("wb") as err:
            tool = subprocess.Popen(["bpftrace", "-B", "full", "-e", script], stdout=out, stderr=err)
            while b"Attaching" not in output.read_bytes() + complaints.read_bytes() and tool.poll() is None:
                _wait_until_attached(tool.pid)
            _wait_until_attached(tool.pid)
            before = cpu(tool.pid)
            make_calls(n).wait()
            time.sleep(1)
            used = cpu(tool.pid) - before
            tool.send_signal(2)
            tool.wait()
        lines = sum(1 for line in output.read_bytes().splitlines() if re.fullmatch(rb"\d+ \d+ \d+", line))
        lost = complaints.read_bytes() + output.read_bytes()
    dropped = sum(map(int, re.findall(rb"Lost (\d+) events", lost)))
    return {"calls": n, "received": lines, "dropped": dropped, "cpu": used, "rate": lines / used if used else 0.0}


def _wait_until_attached(pid: int) -> None:
    """bpftrace says what it attaches to before it does: until its processor time stands still, it isn't ready."""
    last = -1.0
    while cpu(pid) != last:
        last = cpu(pid)
        time.sleep(1.5)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--calls", type=int, default=50_000)
    n = options.parse_args().calls
    found = {"arrays": ours(n, as_objects=False), "objects": ours(n, as_objects=True)}
    if shutil.which("bpftrace"):
        found["bpftrace"] = bpftrace(n)
    for name, figures in found.items():
        print(json.dumps({"bench": "events", "tool": name, **figures}), flush=True)
    if "bpftrace" in found:
        ratio = {name: found[name]["rate"] / found["bpftrace"]["rate"] for name in ("arrays", "objects")}
        print(json.dumps({"bench": "events", "ratio": ratio}))


if __name__ == "__main__":
    main()

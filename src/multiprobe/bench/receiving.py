"""`bench events`: events received per second of the receiver's processor time, ours and bpftrace's.

A child process makes a known number of calls of one function; each tool sends an event with time, process and argument
for each call.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.arch import native
from multiprobe.bench.attaching import OURS
from multiprobe.bench.figures import Case, Figure, Run, Task, figures, in_turn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from multiprobe.bench.bpftrace import Bpftrace

CALLS = 50_000
_CALLER = "import os, sys\nfor _ in range(int(sys.argv[1])): os.getpgid(0)\n"
_UNITS = {"rate": "events/s", "received": "events", "dropped": "events"}
_SCRIPT = 'kprobe:{} {{ printf("%llu %d %llu\\n", nsecs, pid, arg0); }}'


class Called(mp.Event):
    """One call."""

    time: mp.u64
    pid: mp.u32
    argument: mp.u64


called = mp.RingBuffer(Called, size=1 << 22)


@mp.program
def report(ctx: mp.Context) -> None:
    """Send an event for every call."""
    called.send(time=ctx.time, pid=ctx.pid, argument=ctx.arg(0))


def measure(task: Task) -> Iterator[Figure]:
    """Ours as arrays and as objects, and bpftrace's lines of text in a file."""
    function = native().wrappers[0] + "getpgid"
    peers = {Case(peer.name, "printf"): partial(theirs, peer, function) for peer in task.bpftraces}
    cases: dict[Case, Run] = {
        Case(OURS, "arrays"): lambda: ours(function, as_objects=False),
        Case(OURS, "objects"): lambda: ours(function, as_objects=True),
    }
    found = in_turn("events", cases | peers, task, to_warm_up=cases)
    peer = next(iter(peers), None)
    for step, unit in _UNITS.items():
        these = {case: [{step: run[step]} for run in runs] for case, runs in found.items()}
        beside = peer if step == "rate" else None
        yield from figures("events", these, unit=unit, peer=beside, functions=1)


def ours(function: str, *, as_objects: bool) -> Mapping[str, float]:
    """The processor time of this process, from before the calls until the last event."""
    total = 0
    with mp.attach(report, function) as attachment:
        reader = attachment.events(called)
        reader.read()  # NumPy is imported
        before = _used()
        caller = _make_calls()
        while True:
            is_over = caller.poll() is not None
            if as_objects:
                for event in reader.take(timeout=0.05):
                    total += event.argument & 1
            else:
                total += int(reader.read(timeout=0.05)["argument"].sum() & 1)
            if is_over and reader.received + reader.dropped == reader.sent:
                break
            time.sleep(0.02)
        used = _used() - before
        return _figures(reader.received, reader.dropped, used)


def theirs(peer: Bpftrace, function: str) -> Mapping[str, float]:
    """The processor time of bpftrace."""
    with peer.running(_SCRIPT.format(function)) as running:
        before = _processor_time(running.pid)
        _make_calls().wait()
        last = -1.0
        while (used := _processor_time(running.pid) - before) != last:
            last = used
            time.sleep(0.5)
        said = running.output.read_bytes()
    received = len(re.findall(rb"^\d+ \d+ \d+$", said, re.MULTILINE))
    return _figures(received, sum(map(int, re.findall(rb"Lost (\d+) events", said))), used)


def _figures(received: int, dropped: int, seconds: float) -> Mapping[str, float]:
    return {"rate": received / seconds if seconds else 0.0, "received": received, "dropped": dropped}


def _make_calls() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _CALLER, str(CALLS)])


def _used() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _processor_time(pid: int) -> float:
    """Seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

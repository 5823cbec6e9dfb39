"""`bench start`: the time from the command line to everything attached, in phases: ours, bpftrace's, trace-cmd's.

Each tool counts the calls of the functions that the patterns match; trace-cmd, which can't count, traces them.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from multiprobe.bench import bpftrace
from multiprobe.bench.attaching import OURS
from multiprobe.bench.figures import Case, Figure, Run, Task, figures, in_turn
from multiprobe.errors import MultiprobeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from multiprobe.bench.bpftrace import Bpftrace

PHASES = ("interpreter", "import", "choose", "compile", "load", "attach")
"""Of ours. bpftrace's are two: `compile` is all until its first program runs, `attach` loads the others, too."""
TRACE_CMD = "trace-cmd"
_OURS = """
import time
def now():
    return time.clock_gettime(time.CLOCK_BOOTTIME)
times = {"interpreter": now()}
import json, sys
import multiprobe as mp
import multiprobe.cli.main, multiprobe.cli.count
from multiprobe.instruments import count
times["import"] = now()
functions = mp.Kernel().functions(*sys.argv[1:])
times["choose"] = now()
counter = count.start(functions)
times["attach"] = now()
timings = dict(counter.report.timings)
counter.finish()
counter.close()
print(json.dumps({"times": times, "timings": timings}))
"""
"""What `multiprobe count` does, in its order, with the times in between."""


def measure(task: Task) -> Iterator[Figure]:
    """The phases of each tool, `attached` (their sum), and `whole`, with detaching and the end of the process."""
    cases: dict[Case, Run] = {Case(OURS, "count"): lambda: ours(task.patterns)}
    wanted = bpftrace.probes(task.patterns)
    peers = {Case(peer.name, "count"): partial(theirs, peer, wanted) for peer in task.bpftraces if wanted}
    cases |= peers
    if wanted and shutil.which(TRACE_CMD):
        cases[Case(TRACE_CMD, "function")] = lambda: trace_cmd(task.patterns)
    found = in_turn("start", cases, task, to_warm_up=cases)
    n = len(task.functions.attachable())
    yield from figures("start", found, unit="s", peer=next(iter(peers), None), functions=n)


def ours(patterns: tuple[str, ...]) -> Mapping[str, float]:
    """Our own command, in a process of its own."""
    began = _now()
    done = subprocess.run([sys.executable, "-c", _OURS, *patterns], capture_output=True, text=True, check=False)
    ended = _now()
    if done.returncode:
        raise MultiprobeError(f"the command failed: {(done.stderr.strip() or 'without a word').splitlines()[-1]}")
    told = json.loads(done.stdout)
    return phases(began, told["times"], told["timings"]) | {"whole": ended - began}


def phases(began: float, times: Mapping[str, float], timings: Mapping[str, float]) -> dict[str, float]:
    """Seconds of each phase: from the moments when they ended, and from what `mp.attach` says of its own."""
    marks = [began, *(times[name] for name in ("interpreter", "import", "choose", "attach"))]
    interpreter, importing, choose, whole = (after - before for before, after in pairwise(marks))
    plan, compiling, load = (timings.get(name, 0.0) for name in ("plan", "compile", "load"))
    found = (interpreter, importing, choose + plan, compiling, load, whole - plan - compiling - load)
    return dict(zip(PHASES, found, strict=True)) | {"attached": times["attach"] - began}


def theirs(peer: Bpftrace, wanted: str) -> Mapping[str, float]:
    """A bpftrace's."""
    times = peer.timed(wanted + " { @[func] = count(); }")
    return {
        "compile": times.begun - times.started,
        "attach": times.attached - times.begun,
        "attached": times.attached - times.started,
        "whole": times.whole - times.started,
    }


def trace_cmd(patterns: tuple[str, ...]) -> Mapping[str, float]:
    """trace-cmd's, with the kernel's function tracer."""
    with tempfile.TemporaryDirectory() as directory:
        chosen = [word for pattern in patterns for word in ("-l", pattern)]
        line = [TRACE_CMD, "record", "-q", "-o", str(Path(directory, "trace.dat")), "-p", "function", *chosen]
        began = _now()
        done = subprocess.run([*line, "cat", "/proc/uptime"], capture_output=True, text=True, check=False)
        ended = _now()
    found = re.search(r"^(\d+\.\d+) \d+\.\d+$", done.stdout, re.MULTILINE)
    if done.returncode or found is None:
        raise MultiprobeError(f"trace-cmd failed: {(done.stderr.strip() or 'without a word').splitlines()[-1]}")
    return {"attached": float(found[1]) - began, "whole": ended - began}


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)

"""Runs bpftrace as the peer: knows when it is attached, by the command that it starts then (`-c`)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from multiprobe.bench.machine import version
from multiprobe.errors import MultiprobeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PROGRAM = "bpftrace"
_ENVIRONMENT = {"BPFTRACE_MAX_PROBES": "1000000"}
"""Without it, it refuses more than 512 functions, or as many as its version says."""
_TIMED = 'BEGIN {{ printf("begun %llu\\n", nsecs); }} {} END {{ printf("ended %llu\\n", nsecs); }}'
_CLOCK = "/proc/uptime"
"""Tells the time of the clock that `nsecs` is of, to 10 ms: what is printed once everything is attached."""


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of CLOCK_BOOTTIME: its start, its code compiled, everything attached, everything detached, its end."""

    started: float
    begun: float
    attached: float
    ended: float
    whole: float


@dataclass(frozen=True, slots=True)
class Running:
    """A bpftrace that is attached: its process, and the file that its output goes to."""

    pid: int
    output: Path


@dataclass(frozen=True, slots=True)
class Bpftrace:
    """One bpftrace: its name among the tools, and its program."""

    name: str
    path: str

    @property
    def version_line(self) -> tuple[str, str]:
        """The command line that tells its version."""
        return self.path, "--version"

    def attach(self, wanted: str) -> Mapping[str, float]:
        """Seconds to load and attach empty programs, and to detach them, as its own clock says, to 10 ms."""
        times = self.timed(wanted + " { }")
        return {"attach": times.attached - times.begun, "detach": times.ended - times.attached}

    def timed(self, script: str) -> Times:
        """Run a script of probes until everything is attached, and detach. Raises MultiprobeError if it fails."""
        line = [self.path, "-c", f"{_cat()} {_CLOCK}", "-e", _TIMED.format(script)]
        started = time.clock_gettime(time.CLOCK_BOOTTIME)
        done = subprocess.run(line, capture_output=True, text=True, check=False, env=os.environ | _ENVIRONMENT)
        whole = time.clock_gettime(time.CLOCK_BOOTTIME)
        found = re.search(r"begun (\d+).*?^(\d+\.\d+) \d+\.\d+$.*?ended (\d+)", done.stdout, re.DOTALL | re.MULTILINE)
        if done.returncode or found is None:
            raise _failed(done.stdout + done.stderr)
        return Times(started, int(found[1]) / 1e9, float(found[2]), int(found[3]) / 1e9, whole)

    @contextmanager
    def running(self, script: str) -> Iterator[Running]:
        """Have it attached while the block runs; at the end of the block it detaches and exits.

        Raises MultiprobeError if it exits before everything is attached.
        """
        with tempfile.TemporaryDirectory() as directory:
            gate, output = Path(directory, "gate"), Path(directory, "output")
            os.mkfifo(gate)
            with output.open("wb") as out:
                process = subprocess.Popen(
                    [self.path, "-B", "full", "-c", f"{_cat()} {gate}", "-e", script],
                    stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=os.environ | _ENVIRONMENT,
                )  # fmt: skip
            try:
                writer = _open_when_read(gate, process, output)
                try:
                    yield Running(process.pid, output)
                finally:
                    os.close(writer)
                process.wait()
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()


def installed() -> tuple[Bpftrace, ...]:
    """The one that is found first on PATH, if there is one."""
    path = shutil.which(PROGRAM)
    return () if path is None else (Bpftrace(PROGRAM, path),)


def at(paths: Sequence[str]) -> tuple[Bpftrace, ...]:
    """Those at these paths; where there are several, the version of each is in its name, and the path if they share it.

    Raises UsageError.
    """
    versions = {path: version((path, "--version")) for path in paths}
    for path, found in versions.items():
        if not found:
            raise UsageError(f"{path} can't be run", hint="--bpftrace expects the path of a bpftrace")
    if len(versions) == 1:
        return (Bpftrace(PROGRAM, *versions),)
    shared = {found for found, n in Counter(versions.values()).items() if n > 1}
    return tuple(
        Bpftrace(f"{PROGRAM} {found} {path}" if found in shared else f"{PROGRAM} {found}", path)
        for path, found in versions.items()
    )


def probes(patterns: tuple[str, ...]) -> str:
    """The patterns as its kprobes, or "" if it can't say the same."""
    can = all(re.fullmatch(r"[\w*]+", pattern) for pattern in patterns)
    return ",".join(f"kprobe:{pattern}" for pattern in patterns) if can else ""


def _open_when_read(gate: Path, process: subprocess.Popen[bytes], output: Path) -> int:
    """A descriptor of the FIFO, once the command that reads it runs."""
    while process.poll() is None:
        with suppress(OSError):
            return os.open(gate, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # ENXIO: nobody reads yet
        time.sleep(0.02)
    raise _failed(output.read_text(errors="replace"))


def _cat() -> str:
    """By its path: bpftrace refuses a name that it finds twice, as in /bin and /usr/bin."""
    return shutil.which("cat") or "/bin/cat"


def _failed(said: str) -> MultiprobeError:
    last = [line.strip() for line in said.splitlines() if line.strip()][-1:]
    return MultiprobeError(f"bpftrace failed: {' '.join(last) or 'without a word'}")

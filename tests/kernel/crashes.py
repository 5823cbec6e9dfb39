"""Crash trials: commands that are killed, stopped, hung up on or starved at random moments, and what they leave.

    python tests/kernel/crashes.py [--trials N] [--seed S] [--first K]      in a guest, as root: make crashes

After each trial nothing is attached, no process of ours is left, the kernel log is clean, caches are as good as new,
and the next run works. A trial is determined by its seed and number, but for the moments at which the kernel schedules.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import pty
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

import forked  # noqa: E402
import leftovers  # noqa: E402
import multiprobe as mp  # noqa: E402

PATIENCE_SECONDS = 180
LONGEST_DELAY = 6.0
COLD_DELAY = 15.0
MECHANISMS = ("tracing_multi", "kprobe_multi", "trampoline", "kprobe")
#: By name: the words of the command line, and whether it is given a mechanism.
COMMANDS: dict[str, tuple[tuple[str, ...], bool]] = {
    "count": (("count", "vfs_*", "-d", "2"), True),
    "count of many": (("count", "tcp_*", "ext4_*", "-d", "2"), False),
    "count --json": (("count", "vfs_*", "--json", "-d", "2"), True),
    "count --budget": (("count", "vfs_*", "--budget", "5%", "-d", "2"), True),
    "count --watchdog": (("count", "vfs_*", "--watchdog", "2", "-d", "2"), True),
    "count --live": (("count", "vfs_*", "--live", "-d", "3"), True),
    "count of a command": (("count", "vfs_*", "--", "sh", "-c", "ls -R /etc; sleep 1"), True),
    "trace": (("trace", "vfs_open", "vfs_write", "-d", "2"), True),
    "trace --json": (("trace", "vfs_open", "vfs_read", "--json", "-d", "2"), True),
    "latency": (("latency", "vfs_*", "-d", "2"), True),
    "latency --live": (("latency", "vfs_*", "--live", "-d", "3"), True),
    "errors": (("errors", "vfs_*", "-d", "2"), False),
    "graph": (("graph", "vfs_read", "vfs_write", "-d", "2"), False),
    "stacks": (("stacks", "vfs_open", "-d", "2"), True),
    "record": (("record", "vfs_*", "--until", "ret == -99", "-d", "2"), True),
    "coverage": (("coverage", "vfs_*", "--", "sh", "-c", "ls -R /etc; sleep 1"), True),
    "functions": (("functions", "vfs_*"), False),
    "inspect": (("inspect",), False),
    "doctor": (("doctor",), False),
}
WRITES_A_FILE = ("count --json", "trace", "trace --json", "latency", "errors", "stacks")
HARMS = (
    "killed", "stopped", "hung up", "terminal closed", "disk full", "pipe full", "memory limited", "interrupted",
    "killed", "terminated", "memory cgroup", "interrupted twice",
)  # fmt: skip
CGROUP = Path("/sys/fs/cgroup/multiprobe-crashes")


@dataclass(frozen=True)
class Trial:
    """What is done to which command, and when."""

    number: int
    harm: str
    name: str
    words: tuple[str, ...]
    delay: float
    amount: int
    is_cold: bool
    on_terminal: bool

    def __str__(self) -> str:
        cold = ", cold" if self.is_cold else ""
        return f"trial {self.number}: {' '.join(self.words)}: {self.harm} after {self.delay:.2f} s{cold}"


def make_trial(seed: int, number: int, mechanisms: tuple[str, ...]) -> Trial:
    """Trial `number` of a seed."""
    chosen = random.Random(f"{seed} {number}")
    harm = HARMS[number % len(HARMS)]
    names = WRITES_A_FILE if harm == "disk full" else tuple(COMMANDS)
    if harm.startswith("memory"):  # textual, without memory for its own errors, prints them in parts or not at all
        names = tuple(name for name in names if "--live" not in name)
    name = chosen.choice(names)
    words, has_mechanism = COMMANDS[name]
    if has_mechanism and chosen.random() < 0.8:
        words = (words[0], "--mechanism", chosen.choice(mechanisms), *words[1:])
    is_cold = chosen.random() < 0.1
    return Trial(
        number,
        harm,
        name,
        words,
        chosen.uniform(0, COLD_DELAY if is_cold else LONGEST_DELAY),
        chosen.choice((1, 4, 16, 48)),
        is_cold,
        "--live" in words or harm == "terminal closed",
    )


@dataclass
class Crashes:
    """Runs trials in one cache directory. `findings`: what must not be."""

    seed: int
    directory: Path
    mechanisms: tuple[str, ...] = ()
    findings: list[str] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._cache = self.directory / "cache"
        os.environ["MULTIPROBE_CACHE"] = str(self._cache)
        kernel = mp.Kernel()
        self.mechanisms = tuple(name for name in MECHANISMS if kernel.has(name))
        self._addresses = list(kernel.functions("vfs_*").addresses())
        self._n_complaints = len(_complaints())

    def run(self, number: int) -> list[str]:
        """Run one trial; its findings."""
        trial = make_trial(self.seed, number, self.mechanisms)
        if trial.is_cold:
            shutil.rmtree(self._cache, ignore_errors=True)
        before = leftovers.take()
        process = _Process(trial, self.directory)
        try:
            found = list(process.suffer())
        finally:
            process.close()
        self.statuses[f"{trial.harm} → {process.status}"] += 1
        found += [f"left behind: {left}" for left in leftovers.wait_until_gone(before)]
        found += self._new_complaints()
        found += self._next_run(trial)
        self.findings += [f"{trial}: {one}" for one in found]
        return found

    def _new_complaints(self) -> list[str]:
        complaints = _complaints()
        new = complaints[self._n_complaints :]
        self._n_complaints = len(complaints)
        return [f"kernel log: {line}" for line in new]

    def _next_run(self, trial: Trial) -> Iterator[str]:
        if list(mp.Kernel().functions("vfs_*").addresses()) != self._addresses:
            yield "the cached table of functions is not the one that was written"
        chosen = trial.words[1:3] if "--mechanism" in trial.words else ()
        done = forked.run(["count", "vfs_read", "vfs_write", *chosen, "--json", "-d", "0.1"])
        report = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}
        if report.get("attached") != 2 or _is_trouble(done.stderr):
            yield f"the next run: status {done.returncode}, {report.get('attached')} attached: {done.stderr}"


def _complaints() -> list[str]:
    return leftovers.complaints(leftovers.kernel_log())


def _is_trouble(stderr: str) -> bool:
    return "Traceback" in stderr or "internal error" in stderr or "Exception ignored" in stderr


class _Process:
    """The process of a trial, its streams, and what is done to it."""

    def __init__(self, trial: Trial, directory: Path) -> None:
        self._trial = trial
        self._cleanup = contextlib.ExitStack()
        self._errors = directory / "stderr"
        self._file: Path | None = None
        self._parent = -1
        self._screen = b""
        self.status: int | str = "not ended"
        words = list(trial.words)
        if trial.harm == "disk full":
            disk = directory / "disk"
            disk.mkdir(exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={4 * trial.amount}k", "tmpfs", disk], check=True)
            self._cleanup.callback(subprocess.run, ["umount", disk], check=True)
            self._file = disk / "results"
            words = [words[0], "-o", str(self._file), *words[1:]]
        with open(self._errors, "wb") as errors, contextlib.ExitStack() as theirs:
            stdin = stdout = subprocess.DEVNULL
            if trial.on_terminal:
                self._parent, child = pty.openpty()
                theirs.callback(os.close, child)
                fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
                stdin = stdout = child
            elif trial.harm == "pipe full":
                self._parent, child = os.pipe()
                theirs.callback(os.close, child)
                fcntl.fcntl(child, fcntl.F_SETPIPE_SZ, 4096)
                if trial.amount > 4:
                    os.write(child, bytes(4096))
                stdout = child
            environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
            self._process = forked.Popen(
                words, stdin=stdin, stdout=stdout, stderr=stdout if "--live" in words else errors,
                start_new_session=True, before=self._before(), env=environment,
            )  # fmt: skip

    def _before(self) -> Callable[[], None]:
        trial = self._trial

        def before() -> None:
            if trial.on_terminal:
                fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            if trial.harm == "memory limited":
                pages = int(Path("/proc/self/statm").read_text().split()[0])
                limit = pages * resource.getpagesize() + (trial.amount << 20)
                resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            if trial.harm == "memory cgroup":
                (CGROUP / "cgroup.procs").write_text(str(os.getpid()))

        if trial.harm == "memory cgroup":
            (CGROUP.parent / "cgroup.subtree_control").write_text("+memory")
            CGROUP.mkdir(exist_ok=True)
            (CGROUP / "memory.max").write_text(str(trial.amount << 20))
        return before

    def suffer(self) -> Iterator[str]:
        """Do it harm and wait for its end; what is not as it must be."""
        trial, process = self._trial, self._process
        if trial.harm not in ("disk full", "memory limited", "memory cgroup"):
            self._wait(trial.delay)
            self._harm()
        if not self._wait(PATIENCE_SECONDS):
            yield f"does not end within {PATIENCE_SECONDS} s: {self._stack()}"
            process.kill()
            process.wait()
        self.status = process.returncode
        stderr = self._errors.read_text(errors="replace") + self._screen.decode(errors="replace")
        if _is_trouble(stderr) or self.status == 2:  # no command line here is wrong
            yield f"status {self.status}: {stderr[-1500:]}"
        if trial.harm == "stopped" and self.status:
            yield f"stopped and continued, and status {self.status}: {stderr[-500:]}"
        if self._file is not None:
            yield from self._file_findings(stderr)
        yield from self._survivors()

    def _harm(self) -> None:
        process, harm = self._process, self._trial.harm
        numbers = {
            "killed": signal.SIGKILL, "hung up": signal.SIGHUP, "interrupted": signal.SIGINT,
            "terminated": signal.SIGTERM, "interrupted twice": signal.SIGINT, "stopped": signal.SIGSTOP,
        }  # fmt: skip
        if harm in ("terminal closed", "pipe full"):
            self._close_parent()
        elif process.poll() is None:
            process.send_signal(numbers[harm])
        if harm == "stopped":
            time.sleep(self._trial.amount / 16)
            process.send_signal(signal.SIGCONT)
        if harm == "interrupted twice":
            self._wait(0.5)
            process.send_signal(signal.SIGINT)

    def _wait(self, seconds: float) -> bool:
        """Wait for its end; meanwhile its terminal is read, unless nobody is to."""
        end = time.monotonic() + seconds
        while self._process.poll() is None and time.monotonic() < end:
            if self._trial.on_terminal and self._trial.harm != "pipe full" and self._parent >= 0:
                os.set_blocking(self._parent, False)
                with contextlib.suppress(OSError):
                    self._screen += os.read(self._parent, 1 << 16)
            time.sleep(0.02)
        return self._process.poll() is not None

    def _file_findings(self, stderr: str) -> Iterator[str]:
        assert self._file is not None
        if self.status == 0 and "--json" in self._trial.words:
            text = self._file.read_text()
            if json.loads(text.splitlines()[-1])["type"] != "report":
                yield "status 0, and the file has no report"
        elif self.status and "No space left on device" not in stderr:
            yield f"status {self.status}, and not for the full disk: {stderr[-500:]}"

    def _survivors(self) -> Iterator[str]:
        """Processes of ours that are still there (not COMMAND, which nobody ends if we are killed)."""
        end = time.monotonic() + 10
        while (found := [one for one in self._session() if "python" in one[1]]) and time.monotonic() < end:
            time.sleep(0.1)
        for pid, name in found:
            yield f"process {pid} ({name}) is still there"
        for pid, _ in self._session():
            os.kill(pid, signal.SIGKILL)

    def _session(self) -> list[tuple[int, str]]:
        found = []
        for directory in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                name, _, rest = (directory / "stat").read_text().partition(" (")[2].rpartition(") ")
                if int(rest.split()[3]) == self._process.pid and rest[0] != "Z":
                    found.append((int(directory.name), name))
        return found

    def _stack(self) -> str:
        with contextlib.suppress(OSError):
            return " < ".join(Path(f"/proc/{self._process.pid}/stack").read_text().split("\n")[:4])
        return ""

    def _close_parent(self) -> None:
        if self._parent >= 0:
            os.close(self._parent)
            self._parent = -1

    def close(self) -> None:
        """End it, if it lives, and take back what was prepared for it."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._close_parent()
        self._cleanup.close()


def main() -> int:
    """Run the trials; print findings as they come, and counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--first", type=int, default=0, help="number of the first trial")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        crashes = Crashes(options.seed, Path(directory))
        for number in range(options.first, options.first + options.trials):
            for found in crashes.run(number):
                print(f"{make_trial(options.seed, number, crashes.mechanisms)}: {found}", flush=True)
            if number % 20 == 19:
                print(f"{number + 1 - options.first} trials, {time.monotonic() - began:.0f} s", flush=True)
    for outcome, n in sorted(crashes.statuses.items()):
        print(f"{n:5} {outcome}")
    seconds, release = time.monotonic() - began, os.uname().release
    print(
        f"{options.trials} trials (seed {options.seed}) on {release}, {seconds:.0f} s: {len(crashes.findings)} findings"
    )
    return 1 if crashes.findings else 0


if __name__ == "__main__":
    sys.exit(main())

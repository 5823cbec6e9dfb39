"""Faults at every system call: each public operation, with each call failing by each errno that it may answer.

    .venv/bin/python tests/faults.py [--every N] [--jobs N]

An operation may end in an error of ours, or in a result that is whole and a report that is true; a command in an exit
status with a sentence. Whatever happens, no object of the kernel, no descriptor and no thread is left. `make faults`
makes them all; unit tests make a sample.
"""

from __future__ import annotations

import argparse
import errno
import io
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent
sys.path[:0] = [str(ROOT), str(ROOT / "unit/kernel"), str(ROOT / "unit/compiler")]

import multiprobe as mp  # noqa: E402
from fake_kernel import PROFILES, FakeKernel  # noqa: E402
from multiprobe.cli import main as cli  # noqa: E402
from multiprobe.errors import AttachError, MultiprobeError, VerifierError  # noqa: E402

ALWAYS = 1 << 30
_ANY = (errno.EPERM, errno.EINVAL, errno.ENOMEM, errno.EMFILE, errno.EBADF, errno.EINTR)
#: What the kernel may answer, by command; see its man page and kernel/bpf/syscall.c.
ERRNOS = {
    "MAP_CREATE": (*_ANY, errno.E2BIG, errno.ENFILE, errno.EAGAIN),
    "PROG_LOAD": (*_ANY, errno.EACCES, errno.EAGAIN, errno.E2BIG, errno.ENOSPC, errno.ENOENT, errno.EFAULT, 524),
    "BTF_LOAD": (*_ANY, errno.E2BIG, errno.ENOSPC),
    "LINK_CREATE": (
        *_ANY, errno.EBUSY, errno.E2BIG, errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV, errno.EAGAIN, errno.EFAULT,
        errno.EEXIST, errno.ESRCH, errno.ENOSPC,
    ),
    "OBJ_GET_INFO_BY_FD": (*_ANY, errno.ENOSPC, errno.EFAULT, errno.EOPNOTSUPP),
    "perf_event_open": (
        *_ANY, errno.EACCES, errno.EILSEQ, errno.ENOENT, errno.EADDRNOTAVAIL, errno.ENODEV, errno.EBUSY, errno.ENOSPC,
    ),
    "mmap": (errno.ENOMEM, errno.EAGAIN, errno.EPERM),
    "membarrier": (errno.ENOSYS, errno.EINVAL),
}  # fmt: skip


#: What says nothing about a function: rights, memory, descriptors, and what passes.
PASSING = frozenset(
    (errno.EPERM, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EINTR, errno.EAGAIN, errno.ENOSPC, errno.EBUSY)
)


class UntrueError(AssertionError):
    """What must never be: something left behind, an error that is not ours, a report that is not true."""


@dataclass(frozen=True)
class Made:
    """One fault, and what came of it."""

    operation: str
    profile: str
    call: int
    command: str
    number: int
    times: int
    outcome: str

    def __str__(self) -> str:
        number = errno.errorcode.get(self.number, self.number)
        more = "" if self.times == 1 else " and all later ones"
        return f"{self.operation} on {self.profile}: call {self.call} ({self.command}){more} → {number}: {self.outcome}"


# What is done

calls = mp.PerFunction(mp.u64)
by_cookie = mp.Hash(mp.u64, mp.u64, max_entries=64)
stacks = mp.StackTraces(max_entries=64)


class Hit(mp.Event):
    cookie: mp.u64


hits = mp.RingBuffer(Hit, size=1 << 16)


@mp.program
def count(ctx):
    calls[ctx.function] += 1


@mp.program
def with_maps(ctx):
    calls[ctx.function] += 1
    by_cookie[ctx.cookie] += stacks.id(ctx)
    hits.send(cookie=ctx.cookie)


NAMES = ["vfs_read", "vfs_write", "tcp_ack", "nf_hook_slow", "no_such_function", "migrate_disable"]


def check(fake: FakeKernel, attachment: mp.Attachment) -> None:
    """The report says what the kernel says."""
    report = attachment.report
    n = report.attached + len(report.skipped) + len(report.failed)
    if n != report.requested:
        raise UntrueError(f"{report.requested} requested, {n} accounted for")
    failed = {one.function.split(" ")[0] for one in report.failed}
    expected = {function.name for function in attachment.functions} - failed
    if fake.attached() != expected or report.attached != len(expected):
        raise UntrueError(f"attached to {fake.attached()}, reported {report.attached} of {expected}")
    n_links = sum(bool(link.probes) for link in fake.links)  # others are on no function
    if report.links != n_links:
        raise UntrueError(f"{n_links} links, reported {report.links}")
    uneven = [name for name in expected if len(fake.probes(name)) != n_links / max(1, report.attached)]
    if "trampoline" in report.mechanisms and len(report.mechanisms) == 1 and uneven:
        raise UntrueError(f"on one side only: {uneven}")


def attaching(program: mp.Program, **how: object) -> Callable[[FakeKernel, mp.Kernel], None]:
    """Attach, look, read, detach."""

    def attach(fake: FakeKernel, kernel: mp.Kernel) -> None:
        with mp.attach(program, NAMES, kernel=kernel, **how) as attachment:  # type: ignore[arg-type]
            check(fake, attachment)
            attachment.totals(calls)
            attachment.missed()

    return attach


def reading(fake: FakeKernel, kernel: mp.Kernel) -> None:
    """All kinds of maps."""
    with mp.attach(with_maps, NAMES, cookies=range(6), kernel=kernel) as attachment:
        check(fake, attachment)
        attachment.map(by_cookie).as_dict()
        attachment.events(hits, timeout=0).read()
        attachment.missed()


def changing(fake: FakeKernel, kernel: mp.Kernel) -> None:
    """Functions dropped from a live attachment, and added again."""
    with mp.attach(count, NAMES, kernel=kernel, replaceable=True) as attachment:
        attachment.drop(["vfs_read"])
        attachment.add(["vfs_read"])
        attachment.totals(calls)


def pinning(fake: FakeKernel, kernel: mp.Kernel) -> None:
    """Pinned, opened from the pins, and unpinned."""
    directory = "/sys/fs/bpf/faults"
    try:
        with mp.attach(count, NAMES, kernel=kernel) as attachment:
            attachment.pin(directory)
        with mp.Attachment.from_pins(directory, count, kernel=kernel) as attachment:
            attachment.totals(calls)
    finally:
        shutil.rmtree(fake.path(directory), ignore_errors=True)


def probing(_fake: FakeKernel, kernel: mp.Kernel) -> None:
    """All features."""
    from multiprobe.kernel.features import FEATURES, Features

    features = Features()
    for name in FEATURES:
        features.probe(name)


class EndedError(MultiprobeError):
    """A command that ended with an exit status other than 0, and its sentence."""


def command(*words: str, is_attached: bool = False) -> Callable[[FakeKernel, mp.Kernel], None]:
    """A command line; with `is_attached`, while something is attached that it can see."""

    def run(_fake: FakeKernel, kernel: mp.Kernel) -> None:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = cli.run(words)
        check_command(words, status, out.getvalue(), err.getvalue())

    def run_attached(fake: FakeKernel, kernel: mp.Kernel) -> None:
        with mp.attach(count, NAMES, kernel=kernel):
            run(fake, kernel)

    return run_attached if is_attached else run


def check_command(words: tuple[str, ...], status: int, out: str, err: str) -> None:
    """It ended with a sentence, or with results whose report adds up."""
    if "internal error" in err or "Traceback" in err:
        raise UntrueError(err)
    if status:
        if "multiprobe: " not in err:
            raise UntrueError(f"status {status}, and on standard error {err!r}")
        raise EndedError(err.strip())
    if not out:
        raise UntrueError("status 0 and no output")
    if "--json" in words and "--dry-run" not in words:
        report = json.loads(out.splitlines()[-1])
        if report["requested"] != report["attached"] + len(report["skipped"]) + len(report["failed"]):
            raise UntrueError(f"the report does not add up: {report}")


def saving(fake: FakeKernel, kernel: mp.Kernel) -> None:
    """A run is saved whole, whose report adds up, or not at all."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "run.gz"
        try:
            command("count", "vfs_*", "no_such_function", "--json", "-d", "0", "--save", str(path))(fake, kernel)
        finally:
            if [one.name for one in path.parent.iterdir()] not in ([], [path.name]):
                raise UntrueError(f"left {list(path.parent.iterdir())}")
        report = mp.Run.load(path).report
        if report is None or report.requested != report.attached + len(report.skipped) + len(report.failed):
            raise UntrueError(f"the saved report does not add up: {report}")


COMMANDS = {
    "count --save": saving,
    "count": command("count", "vfs_*", "no_such_function", "--json", "-d", "0"),
    "count --verify": command("count", "vfs_*", "-d", "0", "--verify"),
    "count with a command": command("count", "vfs_read", "tcp_ack", "--json", "--", "true"),
    "count with a budget": command("count", "vfs_read", "vfs_write", "--budget", "1%", "--json", "-d", "0"),
    "count --dry-run": command("count", "vfs_*", "--dry-run"),
    "trace": command("trace", "vfs_read", "--json", "-d", "0"),
    "latency": command("latency", "vfs_read", "vfs_write", "--json", "-d", "0"),
    "errors": command("errors", "vfs_read", "vfs_write", "-d", "0"),
    "graph": command("graph", "vfs_read", "vfs_write", "-d", "0"),
    "stacks": command("stacks", "vfs_read", "--json", "-d", "0"),
    "record": command("record", "vfs_read", "--until", "ret < 0", "--json", "-d", "0"),
    "coverage": command("coverage", "vfs_read", "tcp_ack", "--json", "--runs", "2", "--", "true"),
    "inspect": command("inspect", "vfs_read", is_attached=True),
    "functions": command("functions", "vfs_*"),
    "doctor": command("doctor"),
}
OPERATIONS: dict[str, Callable[[FakeKernel, mp.Kernel], None]] = {
    **{
        f"{mechanism} at {when}": attaching(count, mechanisms=mechanism, when=when)
        for mechanism in ("kprobe_multi", "tracing_multi", "trampoline", "kprobe")
        for when in ("entry", "return", "session")
    },
    "any mechanism": attaching(count),
    "all or nothing": attaching(count, on_bad="error"),
    "one process": attaching(count, pid=1),
    "cookies": attaching(with_maps, cookies=range(6)),
    "maps": reading,
    "drop and add": changing,
    "pins": pinning,
    "features": probing,
    **{f"multiprobe {name}": run for name, run in COMMANDS.items()},
}


# Making it fail


def sweep(
    name: str,
    fake: FakeKernel,
    kernel: mp.Kernel,
    *,
    every: int = 1,
    start: int = 0,
    times: tuple[int, ...] = (1, ALWAYS),
) -> Iterator[Made]:
    """Run an operation as often as it has calls that can fail; `every` n-th of these faults only.

    times: how many calls fail, from the chosen one on
    """
    operation, threads = OPERATIONS[name], set(threading.enumerate())
    try:
        commands = _run(operation, fake, kernel)
    except MultiprobeError:
        return  # not on this kernel, and no call would be different
    place = start
    for call, command in enumerate(commands, 1):
        for number in ERRNOS.get(command, _ANY):
            for n in times:
                place += 1
                if place % every:
                    continue
                fake.fault(number, call=call, times=n)
                try:
                    _run(operation, fake, kernel)
                    outcome = "complete"
                except AttachError as error:
                    outcome = "AttachError" if error.report is not None else "untrue: an AttachError without a report"
                except MultiprobeError as error:
                    outcome = _untold(error) or type(error).__name__
                except Exception as error:
                    outcome = f"untrue: {type(error).__name__}: {error}"
                outcome = _left(fake, threads) or _remembered(fake, number) or outcome
                yield Made(name, fake.profile.release, call, command, number, n, outcome)


def _run(operation: Callable[[FakeKernel, mp.Kernel], None], fake: FakeKernel, kernel: mp.Kernel) -> list[str]:
    """Run it; the calls that it made."""
    fake.calls.clear()
    for path in fake.cache.glob("culprits-*"):
        path.unlink()
    try:
        operation(fake, kernel)
    finally:
        fake.faults.clear()
    return [call for call in fake.calls if not call.startswith("close")]


def _left(fake: FakeKernel, known: set[threading.Thread]) -> str:
    """What an operation has left; `known`: the threads that were there before."""
    left = fake.left()
    threads = [thread.name for thread in threading.enumerate() if thread not in known and _lives(thread)]
    fake.forget()
    return f"untrue: left {left or threads}" if left or threads else ""


def _untold(error: MultiprobeError) -> str:
    """What an error of ours must never say, or leave out."""
    if not str(error).strip():
        return f"untrue: {type(error).__name__} without a sentence"
    if isinstance(error, VerifierError) and not error.log:
        return "untrue: it blames the verifier, which said nothing"
    return ""


def _remembered(fake: FakeKernel, number: int) -> str:
    """No function is to blame for what a process or a machine lacks at the moment."""
    found = [path.read_text() for path in fake.cache.glob("culprits-*")]
    return f"untrue: remembered as the functions' fault: {found}" if found and number in PASSING else ""


def _lives(thread: threading.Thread) -> bool:
    """Whether it is there a moment later too: what was told to end needs one."""
    thread.join(1)
    return thread.is_alive()


def everything(directory: Path, *, every: int = 1, seed: int = 0) -> Iterator[Made]:
    """All operations on all kernels."""
    for profile in PROFILES:
        for name in OPERATIONS:
            yield from one_operation(directory, profile, name, every=every, seed=seed)


def one_operation(directory: Path, profile: str, name: str, *, every: int, seed: int) -> Iterator[Made]:
    """One operation on one kernel."""
    with FakeKernel(directory, PROFILES[profile]) as fake:
        start = random.Random(f"{seed} {profile} {name}").randrange(every)
        yield from sweep(name, fake, mp.Kernel(), every=every, start=start)


def _in_a_process(profile: str, name: str, every: int) -> list[Made]:
    with tempfile.TemporaryDirectory() as directory:
        return list(one_operation(Path(directory), profile, name, every=every, seed=0))


def main() -> int:
    """Print what is not as it must be, and how many faults had which outcome."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="make each N-th fault only")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes that make them")
    options = parser.parse_args()
    outcomes: Counter[str] = Counter()
    n_untrue, began = 0, time.monotonic()
    with ProcessPoolExecutor(options.jobs) as pool:
        jobs = [pool.submit(_in_a_process, one, name, options.every) for name in OPERATIONS for one in PROFILES]
        for made in (made for job in jobs for made in job.result()):
            outcomes[made.outcome.partition(":")[0]] += 1
            if made.outcome.startswith("untrue"):
                n_untrue += 1
                print(made)
    seconds = time.monotonic() - began
    where = f"{len(OPERATIONS)} operations on {len(PROFILES)} kernels"
    print(f"{sum(outcomes.values()):,} faults in {where}, {seconds:.0f} s: {n_untrue} untrue")
    print(", ".join(f"{outcome} {n:,}" for outcome, n in outcomes.most_common()))
    return 1 if n_untrue else 0


if __name__ == "__main__":
    sys.exit(main())

"""Faults at every system call: each public operation, with each call failing by each errno that it may answer.

    .venv/bin/python tests/faults.py [--every N]

An operation may end in an error of ours, or in a result that is whole and a report that is true. Whatever happens, no
object of the kernel, no descriptor and no thread is left. `make faults` makes them all; unit tests make a sample.
"""

from __future__ import annotations

import argparse
import errno
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent
sys.path[:0] = [str(ROOT), str(ROOT / "unit/kernel"), str(ROOT / "unit/compiler")]

import multiprobe as mp  # noqa: E402
from fake_kernel import PROFILES, FakeKernel  # noqa: E402
from multiprobe.errors import AttachError, MultiprobeError  # noqa: E402

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
    if report.links != len(fake.links):
        raise UntrueError(f"{len(fake.links)} links, reported {report.links}")
    uneven = [name for name in expected if len(fake.probes(name)) != len(fake.links) / max(1, report.attached)]
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
    """Run an operation as often as it has calls that can fail; `every` n-th of these faults only."""
    operation = OPERATIONS[name]
    try:
        commands = _run(operation, fake, kernel)
    except MultiprobeError:
        return  # not on this kernel, and no call would be different
    place = start
    for call, command in enumerate(commands, 1):
        for number in ERRNOS.get(command, _ANY):
            for n in (1, ALWAYS):
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
                    outcome = type(error).__name__
                except Exception as error:
                    outcome = f"untrue: {type(error).__name__}: {error}"
                yield Made(name, fake.profile.release, call, command, number, n, _left(fake) or outcome)


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


def _left(fake: FakeKernel) -> str:
    left = fake.left()
    threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    fake.forget()
    return f"untrue: left {left or threads}" if left or threads else ""


def everything(directory: Path, *, every: int = 1, seed: int = 0) -> Iterator[Made]:
    """All operations on all kernels."""
    chosen = random.Random(seed)
    for profile in PROFILES.values():
        with FakeKernel(directory, profile) as fake:
            kernel = mp.Kernel()
            for name in OPERATIONS:
                yield from sweep(name, fake, kernel, every=every, start=chosen.randrange(every))


def main() -> int:
    """Print what is not as it must be, and how many faults had which outcome."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--every", type=int, default=1)
    outcomes: Counter[str] = Counter()
    n_untrue, began = 0, time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        for made in everything(Path(directory), every=options.parse_args().every):
            outcomes[made.outcome.partition(":")[0]] += 1
            if made.outcome.startswith("untrue"):
                n_untrue += 1
                print(made)
    print(f"{sum(outcomes.values()):,} faults in {time.monotonic() - began:.0f} s: {dict(outcomes)}")
    return 1 if n_untrue else 0


if __name__ == "__main__":
    sys.exit(main())

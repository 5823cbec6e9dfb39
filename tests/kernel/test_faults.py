"""System calls of a real kernel that fail, in a sample: an error of ours or a complete result, and nothing left behind.

`make faults` makes all of them on the fake kernel.
"""

from __future__ import annotations

import errno
import gc
import os
import random
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from turns import at_home

import leftovers
import multiprobe as mp
from multiprobe.errors import MultiprobeError
from multiprobe.kernel.mechanism import parse_mechanism
from multiprobe.syscalls import raw

CANDIDATES = [
    "vfs_statfs",
    "vfs_fsync_range",
    "vfs_llseek",
    "vfs_read",
    "vfs_write",
    "vfs_open",
    "vfs_mkdir",
    "vfs_rename",
]
N = 4
ERRNOS = (errno.EPERM, errno.ENOMEM, errno.EMFILE, errno.EINTR, errno.EAGAIN, errno.EBUSY, errno.ENOSPC, errno.EINVAL)
N_FAULTS = int(os.environ.get("MULTIPROBE_FAULTS", "10"))

calls = mp.PerFunction(mp.u64)
seen = mp.Hash(mp.u64, mp.u64, max_entries=64)


@mp.program
def probe(ctx):
    calls[ctx.function] += 1
    seen[ctx.function] += 1


class Failing:
    """The kernel, but for call number `at` (and all later ones), which is answered with an errno."""

    def __init__(self, *, at: int = 0, number: int = 0, is_for_good: bool = False) -> None:
        self._at, self._number, self._is_for_good = at, number, is_for_good
        self._real = raw._real_kernel
        self.n_calls = 0

    def __call__(self, nr: int, *arguments: int) -> int | raw.NewDescriptor:
        self.n_calls += 1
        fails = self.n_calls == self._at or (self._is_for_good and 0 < self._at < self.n_calls)
        return -self._number if fails else self._real(nr, *arguments)


def able(mechanism: str) -> list[str]:
    """Functions that this mechanism can be attached to; where the compiler changed their arguments, some can't."""
    chosen = mp.Kernel().by_symbols(CANDIDATES).attachable(parse_mechanism(mechanism))
    return [function.name for function in chosen][:N]


def attach_and_read(mechanism: str, names: list[str], cache: Path) -> int:
    """How many functions were attached; each report accounts for every name."""
    for path in cache.glob("culprits-*"):
        path.unlink()
    with mp.attach(probe, names, mechanisms=mechanism) as attachment:
        os.statvfs("/")
        report = attachment.report
        assert report.attached + len(report.failed) + len(report.skipped) == report.requested == N
        attachment.totals(calls)
        attachment.map(seen).as_dict()
        return report.attached


@pytest.mark.parametrize("mechanism", at_home(["kprobe_multi", "tracing_multi", "trampoline", "kprobe"]))
def test_a_system_call_that_fails(mechanism: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not mp.Kernel().has(mechanism):
        pytest.skip(f"this kernel has no {mechanism}")
    monkeypatch.setenv("MULTIPROBE_CACHE", str(tmp_path))
    names = able(mechanism)
    for _ in range(2):  # the second one finds the caches warm
        counting = Failing()
        with raw.using(counting):
            assert attach_and_read(mechanism, names, tmp_path) == N
    chosen = random.Random(mechanism)
    for _ in range(N_FAULTS):
        call, number = chosen.randint(1, counting.n_calls), chosen.choice(ERRNOS)
        what = f"call {call} of {counting.n_calls} → {errno.errorcode[number]}"
        gc.collect()
        before, descriptors, threads = leftovers.take(), os.listdir("/proc/self/fd"), threading.active_count()
        failing = Failing(at=call, number=number, is_for_good=chosen.random() < 0.5)
        with suppress(MultiprobeError), raw.using(failing):
            attach_and_read(mechanism, names, tmp_path)
        assert leftovers.wait_until_gone(before) == [], what
        assert os.listdir("/proc/self/fd") == descriptors, what
        assert threading.active_count() == threads, what
    assert attach_and_read(mechanism, names, tmp_path) == N

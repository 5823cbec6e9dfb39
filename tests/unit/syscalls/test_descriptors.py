"""Descriptors have one owner, from the moment the system call returns, whatever interrupts, and across fork."""

from __future__ import annotations

import errno
import gc
import os
import signal
import subprocess
import sys

import pytest

from multiprobe.syscalls import raw
from multiprobe.syscalls.fd import FileDescriptor, NewDescriptor

EVENTFD2 = {"x86_64": 290, "aarch64": 19}[os.uname().machine]


@pytest.fixture(autouse=True)
def eventfds_are_opened_like_links(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "opens", lambda nr, *arguments: nr == EVENTFD2)


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_a_new_descriptor_is_open_until_it_is_closed() -> None:
    new = raw.call_opening(EVENTFD2, 0, 0)
    assert isinstance(new, NewDescriptor)
    with FileDescriptor(new, "an event") as owner:
        fd = owner.fileno()
        os.fstat(fd)
    assert owner.is_closed
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    owner.close()


def test_a_failed_call_opens_nothing() -> None:
    before = open_descriptors()
    assert raw.call_opening(EVENTFD2, 0, -1) == -errno.EINVAL
    gc.collect()
    assert open_descriptors() == before


@pytest.mark.parametrize("is_kept", [False, True], ids=["in the call", "in a name"])
def test_a_signal_that_raises_leaves_nothing_open(is_kept: bool) -> None:
    real = raw._real_kernel
    before = open_descriptors()

    def interrupted(nr: int, *arguments: int) -> int | NewDescriptor:
        if is_kept:
            result = real(nr, *arguments)
            signal.raise_signal(signal.SIGINT)
            return result
        return (real(nr, *arguments), signal.raise_signal(signal.SIGINT))[0]

    with raw.using(interrupted), pytest.raises(KeyboardInterrupt) as caught:
        raw.call_opening(EVENTFD2, 0, 0)
    del caught
    gc.collect()
    assert open_descriptors() == before


def test_a_forgotten_descriptor_is_closed_with_a_warning() -> None:
    before = open_descriptors()
    with pytest.warns(ResourceWarning, match="an event was never closed"):
        FileDescriptor(raw.call_opening(EVENTFD2, 0, 0), "an event")
    assert open_descriptors() == before


FORK = """
import os, sys
from multiprobe.syscalls.fd import FileDescriptor
read, write = os.pipe()
owner = FileDescriptor(write, "the end of a pipe")
child = os.fork()
if child == 0:
    assert owner.is_closed
    owner.close()
    sys.stdin.read()  # lives on until the parent is done
    os._exit(0)
os.fstat(owner.fileno())  # what the child closed is its own copy
owner.close()
assert os.read(read, 1) == b"", "the child holds the descriptor"
print("ok", flush=True)
"""


def test_a_forked_child_holds_nothing_open() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FORK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ok\n"
        parent.communicate()
    assert parent.returncode == 0

"""Maps of values by task on a fake kernel: made, read by pidfd, refused."""

from __future__ import annotations

import errno
import os
import threading

import pytest

import multiprobe as mp
from fake_kernel import FakeKernel
from multiprobe.maps.layout import layout
from multiprobe.maps.opening import open_map
from multiprobe.maps.tasks import PerTaskMap
from multiprobe.syscalls import bpf

calls = mp.PerTask(mp.i16)


@mp.program
def count(ctx):
    calls[ctx.task] -= ctx.arg(0)


def opened() -> PerTaskMap:
    made = open_map(calls, layout(calls, 0, 1))
    assert isinstance(made, PerTaskMap)
    return made


@pytest.mark.parametrize("mechanism", ["kprobe_multi", "kprobe", "trampoline", "tracing_multi"])
def test_a_running_task_is_read(fake: FakeKernel, mechanism: str) -> None:
    with mp.attach(count, "vfs_read", mechanisms=mechanism) as attachment:
        fake.fire("vfs_read", 3, tgid=os.getpid())
        fake.fire("vfs_read", 4, tgid=os.getpid())
        fake.fire("vfs_read", 1, tgid=1 << 22)  # no process has this id
        found = attachment.map(calls)
        assert found.get(os.getpid()) == -7
        assert found.get(1 << 22) is None
        assert found.as_dict() == {os.getpid(): -7}
        assert list(found.records()) == [{"tid": os.getpid(), "value": -7}]
        with pytest.raises(mp.UsageError, match="neither an array nor a hash table"):
            attachment.read(calls)


def test_threads_are_counted_that_the_kernel_opens_no_pidfd_for(
    fake: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As before Linux 6.9."""
    real, ready, end = os.pidfd_open, threading.Event(), threading.Event()

    def old(pid: int, flags: int = 0) -> int:
        if flags:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real(pid)

    monkeypatch.setattr(os, "pidfd_open", old)
    thread = threading.Thread(target=lambda: (ready.set(), end.wait()))
    thread.start()
    ready.wait()
    found = opened()
    try:
        found.as_dict()
        assert found.unreadable >= 1
        with pytest.raises(mp.NotSupportedError, match=f"opens no pidfd for thread {thread.native_id}"):
            found.get(thread.native_id or 0)
    finally:
        end.set()
        thread.join()
        found.close()


def test_other_errors_of_pidfds_are_errors(fake: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(pid: int, flags: int = 0) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    found = opened()
    monkeypatch.setattr(os, "pidfd_open", full)
    with pytest.raises(mp.KernelError, match=r"opening a pidfd .*EMFILE"):
        found.as_dict()
    found.close()


@pytest.mark.parametrize(("number", "error"), [(errno.EINVAL, mp.NotSupportedError), (errno.ENOMEM, mp.KernelError)])
def test_a_kernel_without_task_storage(
    fake: FakeKernel, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise bpf.error("creating a map", number)

    monkeypatch.setattr(bpf, "task_storage_create", refuse)
    with pytest.raises(error):
        opened()


def test_it_is_not_pinned(fake: FakeKernel, tmp_path: object) -> None:
    with (
        mp.attach(count, "vfs_read") as attachment,
        pytest.raises(mp.UsageError, match="map 'calls' can't be pinned"),
    ):
        attachment.pin(f"{tmp_path}/pins")

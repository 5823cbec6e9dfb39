"""The helper's system calls, on a kernel that only writes them down."""

from __future__ import annotations

import ctypes
import os
import signal

import pytest

from multiprobe import arch
from multiprobe.errors import KernelError
from multiprobe.syscalls import namespaces, raw
from multiprobe.vm import confine


class Kernel:
    """Notes each call and answers `answers.get(number, 0)`."""

    def __init__(self, **answers: int) -> None:
        numbers = arch.native().system_calls
        self.answers = {numbers[name]: answer for name, answer in answers.items()}
        self.names = {number: name for name, number in numbers.items()}
        self.calls: list[tuple[object, ...]] = []

    def __call__(self, number: int, *arguments: int) -> int:
        name = self.names[number]
        texts = {"mount": (0, 1), "umount2": (0,), "mount_setattr": (1,)}.get(name, ())
        words = [ctypes.string_at(a).decode() if i in texts else a for i, a in enumerate(arguments)]
        if name == "mount_setattr":
            words[3] = int.from_bytes(ctypes.string_at(arguments[3], 8), "little")
        self.calls.append((name, *words))
        return self.answers.get(number, 0)


def test_the_tree_is_copied_stripped_and_locked() -> None:
    kernel = Kernel(umount2=-22)
    with raw.using(kernel):
        confine.mount_read_only_root("/at")
    assert kernel.calls == [
        ("unshare", namespaces.CLONE_NEWNS),
        ("mount", "none", "/", 0, namespaces.MS_REC | namespaces.MS_PRIVATE, 0),
        ("mount", "/", "/at", 0, namespaces.MS_BIND | namespaces.MS_REC, 0),
        *(("umount2", f"/at/{name}", namespaces.MNT_DETACH) for name in confine.HIDDEN),
        ("mount_setattr", -100, "/at", 0x8000, 1, 32),
    ]


@pytest.mark.parametrize("call", ["unshare", "mount", "mount_setattr"])
def test_nothing_is_served_when_a_step_fails(call: str, capsys: pytest.CaptureFixture[str]) -> None:
    with raw.using(Kernel(**{call: -1})):
        status = confine.main(["--parent", str(os.getppid()), "--read-only-root", "/at", "--", "/bin/true"])
    assert status == 1
    assert "EPERM" in capsys.readouterr().err


def test_an_orphan_does_not_start() -> None:
    kernel = Kernel()
    with raw.using(kernel):
        assert confine.main(["--parent", "1", "--", "/nonexistent"]) == 1
    assert kernel.calls == [("prctl", 1, signal.SIGKILL)]


def test_errors_name_the_mount() -> None:
    with raw.using(Kernel(mount=-13)), pytest.raises(KernelError, match="/a on /b"):
        namespaces.mount("/a", "/b", namespaces.MS_BIND)

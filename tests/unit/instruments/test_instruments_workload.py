"""Real child processes: none runs before it is let go, none is left behind."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from multiprobe.errors import KernelError, UsageError
from multiprobe.instruments.workload import Workload, describe_status, find_program

if TYPE_CHECKING:
    from pathlib import Path


def open_fds() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_it_waits_until_it_is_let_go(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with Workload(["touch", str(mark)]) as workload:
        time.sleep(0.1)
        assert not mark.exists()
        assert workload.poll() is None
        workload.release()
        assert workload.wait() == 0
        assert mark.exists()


@pytest.mark.parametrize(("script", "status"), [("exit 7", 7), ("kill -TERM $$", -15)])
def test_its_status(script: str, status: int) -> None:
    with Workload(["sh", "-c", script]) as workload:
        workload.release()
        assert select.select([workload.end_fd], [], [], 10)[0]
        assert workload.poll() == status
        assert workload.wait() == status


def test_one_that_was_never_let_go_never_runs(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    workload = Workload(["touch", str(mark)])
    workload.close()
    assert workload.status is not None
    assert not mark.exists()


def test_closing_ends_it_even_if_it_will_not() -> None:
    workload = Workload(["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"])
    workload.release()
    time.sleep(0.2)
    workload.close()
    assert workload.status == -signal.SIGKILL
    with pytest.raises(ChildProcessError):
        os.waitpid(workload.pid, os.WNOHANG)


def test_no_descriptor_is_left() -> None:
    before = open_fds()
    with Workload(["true"]) as workload:
        workload.release()
        workload.wait()
    assert open_fds() == before


@pytest.mark.parametrize(("name", "after"), [("pipe", 0), ("pipe", 1), ("fork", 0), ("pidfd_open", 0)])
def test_one_that_can_not_be_started_leaves_nothing(name: str, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = getattr(os, name), [after]

    def fail(*arguments: int) -> object:
        if left[0]:
            left[0] -= 1
            return real(*arguments)
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(os, name, fail)
    with pytest.raises(KernelError, match=r"starting \(true\): EAGAIN") as caught:
        Workload(["true"])
    assert "ulimit -u" in caught.value.hint
    assert os.listdir("/proc/self/fd") == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_the_child_gets_no_descriptor_of_ours(capfd: pytest.CaptureFixture[str]) -> None:
    subprocess.run(["ls", "/proc/self/fd"], close_fds=False, check=True)
    usual = capfd.readouterr().out
    with Workload(["ls", "/proc/self/fd"]) as workload:
        workload.release()
        workload.wait()
    assert capfd.readouterr().out == usual


def test_the_child_dies_of_a_broken_pipe() -> None:
    with Workload(["sh", "-c", "(sleep 0.1; yes) | true; kill -PIPE $$; exit 9"]) as workload:
        workload.release()
        assert workload.wait() == -signal.SIGPIPE


def test_what_the_kernel_will_not_run(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x00\x01 no program")
    program.chmod(0o755)
    with Workload([str(program)]) as workload, pytest.raises(UsageError, match="ENOEXEC"):
        workload.release()


def test_what_is_not_there() -> None:
    before = open_fds()
    with pytest.raises(UsageError, match="no-such-program"):
        Workload(["no-such-program"])
    with pytest.raises(UsageError):
        find_program("/etc/passwd")
    assert open_fds() == before


def test_words() -> None:
    assert describe_status(0) == "ended with status 0"
    assert describe_status(-9) == "was killed by SIGKILL"

"""The watchdog process, with simulated front ends: stopped, alive, exited."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from multiprobe.errors import UsageError
from multiprobe.links.guard import watchdog, watchdog_child
from multiprobe.links.guard.limits import Limits
from multiprobe.links.ledger import Ledger

SCRIPT = str(Path(watchdog_child.__file__))
OFFSET = 8
TIME_LIMIT = 60


@pytest.fixture
def front_end() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(["sleep", "1000"])
    yield child
    child.kill()
    child.wait()


@pytest.fixture
def control() -> Iterator[int]:
    """What stands for the control map: a file of memory in which programs are active."""
    fd = os.memfd_create("control")
    os.ftruncate(fd, 4096)
    os.pwrite(fd, b"\1", OFFSET)
    yield fd
    os.close(fd)


def watch(front_end: subprocess.Popen[bytes], control: int, log: Path) -> tuple[subprocess.Popen[str], int]:
    """The watchdog, and the end of the pipe on which it waits for beats."""
    beats_out, beats_in = os.pipe()
    process = os.pidfd_open(front_end.pid)
    numbers = [str(number) for number in (beats_out, process, control, OFFSET, 0.8)]
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", SCRIPT, *numbers, str(log), "the front end"],
        pass_fds=(beats_out, process, control),
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(beats_out)
    os.close(process)
    return child, beats_in


def test_a_stopped_front_end_is_switched_off_and_ended(
    front_end: subprocess.Popen[bytes], control: int, tmp_path: Path
) -> None:
    front_end.send_signal(signal.SIGSTOP)
    child, beats = watch(front_end, control, tmp_path / "log")
    _, err = child.communicate(timeout=TIME_LIMIT)
    os.close(beats)
    assert front_end.wait() == -signal.SIGKILL
    assert os.pread(control, 8, OFFSET) == bytes(8)
    assert "the front end did not answer for 0.8 s and was ended (SIGKILL)" in err
    assert "detached" in err
    event = json.loads((tmp_path / "log").read_text())
    assert (event["type"], event["what"], event["detached"]) == ("watchdog", "the front end", True)


def test_one_that_shows_life_is_left_alone(front_end: subprocess.Popen[bytes], control: int, tmp_path: Path) -> None:
    child, beats = watch(front_end, control, tmp_path / "log")
    until = time.monotonic() + 2
    while time.monotonic() < until:
        os.write(beats, b".")
        time.sleep(0.05)
    os.close(beats)  # the front end is done with it
    _, err = child.communicate(timeout=TIME_LIMIT)
    assert (child.returncode, err) == (0, "")
    assert front_end.poll() is None
    assert os.pread(control, 1, OFFSET) == b"\1"


def test_one_that_ends_needs_no_help(front_end: subprocess.Popen[bytes], control: int, tmp_path: Path) -> None:
    child, beats = watch(front_end, control, tmp_path / "log")
    front_end.kill()
    _, err = child.communicate(timeout=TIME_LIMIT)
    os.close(beats)
    assert (child.returncode, err) == (0, "")
    assert not (tmp_path / "log").exists()


class FakeControl:
    """A control map that is a file of memory."""

    def __init__(self, fd: int) -> None:
        self.fd = self
        self.number = fd

    def fileno(self) -> int:
        return self.number


def test_the_thread_starts_the_process_and_ends_it(control: int) -> None:
    report, before = Ledger(0), _all()
    dog = watchdog.Watchdog(FakeControl(control), 5.0, "a test", ledger=report)  # type: ignore[arg-type]
    until = time.monotonic() + TIME_LIMIT
    while not any(_command(pid).count(b"watchdog_child.py") for pid in _all() - before) and time.monotonic() < until:
        time.sleep(0.02)
    assert any(b"watchdog_child.py" in _command(pid) for pid in _all() - before)
    dog.stop()
    assert not any(b"watchdog_child.py" in _command(pid) for pid in _all() - before)
    assert report.report().notes == ()


def _all() -> set[int]:
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that ended meanwhile
            found |= set(map(int, (task / "children").read_text().split()))
    return found


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_it_costs_nothing_when_over_at_once(control: int) -> None:
    report, before = Ledger(0), _all()
    watchdog.Watchdog(FakeControl(control), 5.0, "a test", ledger=report).stop()  # type: ignore[arg-type]
    assert _all() == before


def test_too_short_a_time() -> None:
    with pytest.raises(UsageError, match="at least"):
        Limits(watchdog=0.1)
    assert not Limits(watchdog=0).watchdog


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to give files away")
def test_the_log_is_never_written_through_a_link(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    victim, place = tmp_path / "victim", tmp_path / "cache"
    victim.write_text("safe")
    place.mkdir(0o700)
    log = place / "watchdog.jsonl"
    log.symlink_to(victim)
    watchdog_child.say("it", 1.0, is_gone=True, log=str(log))
    log.unlink()
    os.chown(place, 12345, 12345)
    watchdog_child.say("it", 1.0, is_gone=True, log=str(log))
    assert victim.read_text() == "safe"
    assert not log.exists()
    assert "noted in" not in capfd.readouterr().err

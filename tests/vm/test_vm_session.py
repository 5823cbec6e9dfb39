"""`multiprobe vm` as a user meets it: streams, status, signals, limits, sharing, and nothing left running."""

from __future__ import annotations

import hashlib
import os
import pty
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import ROOT, TIME_LIMIT, VM, processes_of
from multiprobe.vm import kernels

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.mark.parametrize("series", ["6.1", "6.12", "7.3"])
def test_streams_and_status(vm: Run, series: str) -> None:
    ended = vm("--kernel", series, "--", "sh", "-c", "uname -r; echo err >&2; od -c; exit 7", stdin=b"a\0\xffb")
    assert ended.stdout.decode().startswith(f"{series}.")
    assert ended.stdout.endswith(b"0000000   a  \\0 377   b\n0000004\n")
    assert (ended.stderr, ended.returncode) == (b"err\n", 7)


def test_a_kernel_whose_modules_are_missing_runs_with_what_is_built_in(vm: Run, tmp_path: Path) -> None:
    """overlayfs is a module of Debian's kernels: the machine's files are read-only then, those in /tmp hidden."""
    image = kernels.find("6.12").image
    script = "uname -r; echo x >/tmp/x && cat /tmp/x; test -e /etc/hostname; echo $?; echo kept >$1/file; touch /etc/x"
    shared, here = tmp_path / "shared", tmp_path / "current directory"
    shared.mkdir()
    here.mkdir()
    words = ("--kernel-image", str(image), "--share", str(shared), "--", "sh", "-c", script, "sh", str(shared))
    ended = vm(*words, cwd=here)
    assert ended.stdout.decode().startswith("6.12.")
    assert ended.stdout.endswith(b"\nx\n0\n")
    note, error = ended.stderr.decode().splitlines()
    assert note.startswith("multiprobe: note: this kernel lacks overlayfs: this machine's files are read-only")
    assert error.endswith("Read-only file system")
    assert (shared / "file").read_text() == "kept\n"


def test_much_output_arrives_whole(vm: Run) -> None:
    script = "import random,sys; r=random.Random(7)\nfor _ in range(30): sys.stdout.buffer.write(r.randbytes(1<<20))"
    expected = hashlib.sha256(subprocess.run([sys.executable, "-c", script], capture_output=True).stdout).hexdigest()
    ended = vm("--", sys.executable, "-c", script)
    assert ended.returncode == 0
    assert hashlib.sha256(ended.stdout).hexdigest() == expected


def test_a_command_that_is_not_there(vm: Run) -> None:
    ended = vm("--", "no-such-command")
    assert ended.returncode == 127
    assert b"no-such-command" in ended.stderr


def test_only_shared_directories_are_written_to(vm: Run, tmp_path: Path) -> None:
    shared, other = tmp_path / "shared with spaces", tmp_path / "other"
    shared.mkdir()
    other.mkdir()
    script = 'echo kept > "$1/file"; echo lost > "$2/file"; cat "$2/file"'
    ended = vm("--share", str(shared), "--", "sh", "-c", script, "sh", str(shared), str(other))
    assert (ended.stdout, ended.stderr) == (b"lost\n", b"")
    assert (shared / "file").read_text() == "kept\n"
    assert not list(other.iterdir())


def test_the_time_limit_interrupts_the_command(vm: Run) -> None:
    ended = vm("--timeout", "10", "--", "sh", "-c", "trap 'echo interrupted; exit' INT; echo up; sleep 1000 & wait")
    assert ended.stdout == b"up\ninterrupted\n"
    assert ended.returncode == 1
    assert b"did not end within 10 s" in ended.stderr


def test_a_lost_guest_shows_the_end_of_its_console(vm: Run) -> None:
    ended = vm("--", "sh", "-c", "echo c > /proc/sysrq-trigger")
    assert ended.returncode == 1
    assert b"sysrq_handle_crash" in ended.stderr


def test_the_environment_is_a_choice_of_ours(vm: Run) -> None:
    ended = vm("--", "env", env={**os.environ, "A_SECRET": "1", "LC_TIME": "C", "COLUMNS": "77"})
    lines = ended.stdout.decode().splitlines()
    assert "LC_TIME=C" in lines
    assert "COLUMNS=77" in lines
    assert not [line for line in lines if line.startswith("A_SECRET=")]


def test_background_processes_do_not_hold_it_open(vm: Run) -> None:
    start = time.monotonic()
    ended = vm("--", "sh", "-c", "sleep 1000 & echo done")
    assert (ended.stdout, ended.returncode) == (b"done\n", 0)
    assert time.monotonic() - start < 900


def start(*command: str, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a command in a guest and wait until it prints its first line."""
    process = subprocess.Popen(
        [*VM, "--", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    return process


def test_the_first_interrupt_goes_to_the_command() -> None:
    with start("sh", "-c", "trap 'echo caught; exit 3' INT; echo up; while :; do sleep 0.1; done") as process:
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=TIME_LIMIT)
    assert (out, process.returncode) == (b"caught\n", 3)


def test_the_second_interrupt_ends_the_guest() -> None:
    with start("sh", "-c", "trap '' INT; echo up; while :; do sleep 0.1; done") as process:
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=TIME_LIMIT)
    assert process.returncode == 130


def test_a_reader_that_leaves_ends_the_writer() -> None:
    ended = subprocess.run(
        f"{' '.join(VM)} -- yes | head -n2", shell=True, capture_output=True, timeout=TIME_LIMIT, cwd=ROOT
    )
    assert ended.stdout == b"y\ny\n"


def test_nothing_runs_on_after_kill_9() -> None:
    mark = f"MULTIPROBE_TEST={uuid.uuid4()}"
    name, _, text = mark.partition("=")
    with start("sh", "-c", "echo up; sleep 1000", environment={name: text}) as process:
        commands = processes_of(mark).values()
        assert any("qemu-system" in command for command in commands)
        assert any("virtiofsd" in command for command in commands)
        process.kill()
        process.wait()
    end = time.monotonic() + 10
    while (left := processes_of(mark)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not left


def test_a_killed_emulator_is_said_to_be_killed() -> None:
    mark = f"MULTIPROBE_TEST={uuid.uuid4()}"
    name, _, text = mark.partition("=")
    with start("sh", "-c", "echo up; sleep 1000", environment={name: text}) as process:
        (emulator,) = [pid for pid, command in processes_of(mark).items() if "qemu-system" in command.split()[0]]
        os.kill(emulator, signal.SIGKILL)
        _, message = process.communicate(timeout=TIME_LIMIT)
    assert b"QEMU was killed" in message
    assert process.returncode == 1


class Terminal:
    """A shell in a guest, on a terminal of 33 rows and 111 columns."""

    def __init__(self) -> None:
        import fcntl
        import struct
        import termios

        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 111, 0, 0))
            os.execve(VM[0], [*VM, "--", "sh"], dict(os.environ))
        self.text = b""

    def wait_for(self, expected: bytes) -> None:
        end = time.monotonic() + TIME_LIMIT
        while expected not in self.text:
            assert time.monotonic() < end, self.text
            if select.select([self.fd], [], [], 1)[0]:
                self.text += os.read(self.fd, 4096)
        self.text = self.text.partition(expected)[2]

    def type(self, text: bytes) -> None:
        os.write(self.fd, text)

    def leave(self) -> int:
        self.type(b"exit 5\n")
        try:
            while os.read(self.fd, 4096):
                pass
        except OSError:
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_a_terminal() -> None:
    terminal = Terminal()
    terminal.wait_for(b"# ")
    terminal.type(b"test -t 0 && test -t 1 && test -t 2 && stty size\n")
    terminal.wait_for(b"\r\n33 111\r\n# ")
    terminal.type(b"sleep 1000\n")
    time.sleep(1)
    terminal.type(b"\x03")
    terminal.wait_for(b"# ")
    terminal.type(b"echo $?\n")
    terminal.wait_for(b"\r\n130\r\n")
    assert terminal.leave() == 5


def test_secrets_are_empty_unless_they_are_asked_for(vm: Run) -> None:
    script = "wc -c </etc/shadow; umount /etc/shadow 2>/dev/null; wc -c </etc/shadow; cat /proc/cmdline"
    hidden = vm("--append", "one.word=1", "--", "sh", "-c", script).stdout.decode().split()
    assert hidden[:2] == ["0", "0"]
    assert "one.word=1" in hidden
    shown = vm("--share-secrets", "--", "sh", "-c", script).stdout.decode().split()
    assert shown[0] == str(os.path.getsize("/etc/shadow"))

"""`--live` in a real (pseudo) terminal, with an instrument of its own: keys, size, and every way to end."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pyte
import pytest

from multiprobe.cli import live
from multiprobe.cli.signals import Until
from multiprobe.errors import UsageError

PROGRAM = """
import signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup, under which tests may run, has it ignored
from multiprobe.instruments.stacks import callers
from multiprobe.cli.live import Live
from multiprobe.cli.signals import Until
from multiprobe.errors import VmError
from multiprobe.output.frame import LiveFrame, LiveRow
from multiprobe.output.table import Column

columns = (Column("CALLS", True, 1), Column("FUNCTION"))

class Callers:
    def __init__(self, index):
        self.index = index
        print("attached", index, file=log, flush=True)
    def counts(self):
        return [("ksys_read", 3)]
    def close(self):
        print("detached", self.index, file=log, flush=True)

class Functions:
    def take(self, indexes):
        return indexes[0]

class Measuring:
    n = 0
    def sample(self):
        self.n += 1
        if sys.argv[1] == "fail" and self.n == 5:
            raise VmError("no sample")
        return self.n

def frame(n, before):
    rows = [LiveRow(k, (str(n + k), f"function_{k}"), (n + k, f"function_{k}"), f"function_{k}", k) for k in range(50)]
    return LiveFrame(f"frame {n}", columns, rows, lambda key: [f"details of {key}"])

log = open(sys.argv[2], "w")
callers.Callers = Callers
try:
    with Until(duration=60) as until:
        Live(frame, Functions()).run(Measuring(), until, every=lambda: 0.1)
    print("results:", until.why, flush=True)
except VmError as error:
    print("results:", error, flush=True)
"""


class Terminal:
    """The program in a terminal of its own, `screen` as an emulator sees it."""

    def __init__(self, log: Path, mode: str = "", stdout: int | None = None) -> None:
        self.screen = pyte.Screen(60, 12)
        self.sent = b""
        self._stream = pyte.ByteStream(self.screen)
        self.parent, self.child = pty.openpty()
        self.set_size(60, 12)
        self.attributes = termios.tcgetattr(self.child)
        environment = {name: text for name, text in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, mode, log],
            stdin=self.child,
            stdout=self.child if stdout is None else stdout,
            stderr=self.child,
            env=environment | {"TERM": "xterm"},
        )

    def set_size(self, width: int, height: int) -> None:
        fcntl.ioctl(self.parent, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def resize(self, width: int, height: int) -> None:
        self.set_size(width, height)
        self.screen.resize(height, width)
        self.process.send_signal(signal.SIGWINCH)  # as the kernel does where it is the controlling terminal

    def read(self) -> None:
        if select.select([self.parent], [], [], 0.1)[0]:
            data = os.read(self.parent, 65536)
            self.sent += data
            self._stream.feed(data)

    def until(self, text: str) -> None:
        assert self.shows(text, within=60), "\n".join(self.screen.display)

    def shows(self, text: str, *, within: float) -> bool:
        deadline = time.monotonic() + within
        while not any(text in line for line in self.screen.display):
            if time.monotonic() > deadline:
                return False
            self.read()
        return True

    def press_until(self, keys: bytes, text: str) -> None:
        """Press again where nothing comes of it: keys that come while the focus moves are lost."""
        self.press(keys)
        if not self.shows(text, within=15):
            self.press(keys)
            self.until(text)

    def press(self, keys: bytes) -> None:
        os.write(self.parent, keys)

    def has_ended_well(self, why: str) -> bool:
        """Whether it ended with its results on a terminal that is as it was before."""
        self.until(f"results: {why}")
        assert self.process.wait(30) == 0
        assert termios.tcgetattr(self.child) == self.attributes
        for setting in (b"?1049", b"?1000", b"?1003", b"?2004"):  # alternate screen, mouse, paste
            assert self.sent.rfind(b"\x1b[" + setting + b"l") > self.sent.rfind(b"\x1b[" + setting + b"h"), setting
        assert self.sent.rfind(b"\x1b[?25h") > self.sent.rfind(b"\x1b[?25l"), "the cursor is seen again"
        assert b"Traceback" not in self.sent
        return True

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.parent)
        os.close(self.child)


@pytest.fixture
def terminal(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Terminal]:
    made = Terminal(tmp_path / "log", getattr(request, "param", ""))
    yield made
    made.close()


def test_keys_and_size(terminal: Terminal, tmp_path: Path) -> None:
    terminal.until("function_49")
    terminal.press(b"/_7")
    terminal.until("1 match '_7'")
    terminal.press(b"\r")
    terminal.until("Details")
    terminal.press_until(b"\r", "details of 7")
    terminal.until("ksys_read")
    terminal.resize(40, 10)
    terminal.until("details of 7")
    terminal.press(b"\x1b")
    terminal.until("function_7")
    terminal.press(b" ")
    terminal.until("PAUSED")
    terminal.press(b"\r")
    terminal.until("ksys_read")
    terminal.press(b"q")
    assert terminal.has_ended_well("user")
    assert (tmp_path / "log").read_text().split("\n") == ["attached 7", "detached 7"] * 2 + [""]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_the_results_follow(terminal: Terminal, tmp_path: Path, number: int) -> None:
    terminal.until("function_49")
    terminal.press(b"\r")
    terminal.until("ksys_read")
    terminal.process.send_signal(number)
    assert terminal.has_ended_well("signal")
    assert (tmp_path / "log").read_text() == "attached 49\ndetached 49\n"


def test_ctrl_c_ends_it(terminal: Terminal) -> None:
    terminal.until("function_49")
    terminal.press(b"\x03")
    assert terminal.has_ended_well("user")


@pytest.mark.parametrize("terminal", ["fail"], indirect=True)
def test_an_error_is_told_on_a_terminal_that_is_as_it_was(terminal: Terminal) -> None:
    assert terminal.has_ended_well("no sample")


def test_a_terminal_that_is_gone_ends_it(terminal: Terminal) -> None:
    terminal.until("function_49")
    os.close(terminal.child)
    os.close(terminal.parent)
    terminal.parent, terminal.child = os.pipe()
    terminal.process.send_signal(signal.SIGHUP)
    assert terminal.process.wait(30) in (0, 1, 120)  # 120: the interpreter can't flush results that nobody reads


def test_a_terminal_that_is_gone_ends_it_without_a_signal(terminal: Terminal, tmp_path: Path) -> None:
    terminal.until("function_49")
    terminal.press(b"\r")
    terminal.until("ksys_read")
    os.close(terminal.child)
    os.close(terminal.parent)
    terminal.parent, terminal.child = os.pipe()
    assert terminal.process.wait(60) in (0, 1, 120)
    assert (tmp_path / "log").read_text() == "attached 49\ndetached 49\n"


def test_a_terminal_that_nobody_reads_holds_nothing_up_after_the_end(tmp_path: Path) -> None:
    with (tmp_path / "results").open("w") as file:
        terminal = Terminal(tmp_path / "log", stdout=file.fileno())
    try:
        terminal.until("function_41")
        time.sleep(5)  # fifty frames that nobody reads: more than the terminal and textual's queue hold
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.process.wait(60) == 0
        assert (tmp_path / "results").read_text() == "results: signal\n"
    finally:
        terminal.close()


def test_results_go_to_a_file_and_the_screen_to_the_terminal(tmp_path: Path) -> None:
    with (tmp_path / "results").open("w") as file:
        terminal = Terminal(tmp_path / "log", stdout=file.fileno())
    try:
        terminal.until("function_41")  # as many rows as the terminal has lines
        assert "function_40" not in "\n".join(terminal.screen.display)
        terminal.resize(60, 8)
        terminal.until("function_45")
        deadline = time.monotonic() + 60
        while "Details" not in terminal.screen.display[-1] or "function_44" in "\n".join(terminal.screen.display):
            assert time.monotonic() < deadline, "\n".join(terminal.screen.display)
            terminal.read()
        terminal.press(b"q")
        assert terminal.process.wait(30) == 0
        assert (tmp_path / "results").read_text() == "results: user\n"
    finally:
        terminal.close()


def test_it_needs_text_and_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="--json or --csv"):
        live.check(is_text=False)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(UsageError, match="needs a terminal"):
        live.check(is_text=True)


def test_rates_are_those_between_samples() -> None:
    history = live.History()
    assert history.recent(1).rates == []
    for seconds, sums in ((1.0, {1: 10}), (2.0, {1: 30, 7: 2}), (2.0, {1: 99}), (4.0, {7: 2, 1: 31})):
        history.note(seconds, sums)
    assert (history.recent(1).rates, history.recent(1).seconds) == ([20.0, 0.5], 3.0)
    assert history.recent(7).rates == [2.0, 0.0]
    assert history.recent(5).rates == [0.0, 0.0]


def test_the_past_goes_back_some_minutes_only() -> None:
    history = live.History()
    for n in range(live.HISTORY + 50):
        history.note(float(n), {3: n * n})
    rates = history.recent(3).rates
    assert len(rates) == live.HISTORY
    assert (rates[0], rates[-1]) == (2 * 50 - 1, 2 * (live.HISTORY + 49) - 1)


def test_an_end_wakes_who_waits() -> None:
    with Until() as until:
        until.end()
        before = time.monotonic()
        assert until.wait(30)
        assert time.monotonic() - before < 10
        assert until.why == "user"

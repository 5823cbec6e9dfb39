"""`--live` in a real (pseudo) terminal: what its screen shows, and that the results follow when it ends."""

from __future__ import annotations

import os
import pty
import select
import struct
import termios
import time
from fcntl import ioctl

import pyte
import pytest

import forked

pytestmark = pytest.mark.once("7.3")

WIDTH, HEIGHT = 110, 45
PATIENCE = 600


class Terminal:
    """A command in a terminal of its own."""

    def __init__(self, *command: str) -> None:
        self.screen = pyte.Screen(WIDTH, HEIGHT)
        self._stream = pyte.ByteStream(self.screen)
        self._parent, child = pty.openpty()
        ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
        environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": str(WIDTH), "LINES": str(HEIGHT)}
        self.process = forked.Popen(command, stdin=child, stdout=child, stderr=child, env=environment)
        os.close(child)

    def _shows(self, text: str, without: str) -> bool:
        whole = "\n".join(self.screen.display)
        return text in whole and not (without and without in whole)

    def until(self, text: str, *, without: str = "") -> list[str]:
        """The screen once it shows `text`, and no longer `without`."""
        deadline = time.monotonic() + PATIENCE
        while not self._shows(text, without):
            assert time.monotonic() < deadline, "\n".join(self.screen.display)
            with open("/proc/self/comm") as file:  # something to count
                file.read()
            os.path.exists("/no/such/file")  # and something that fails
            if select.select([self._parent], [], [], 0.5)[0]:
                try:
                    self._stream.feed(os.read(self._parent, 65536))
                except OSError:  # the last holder of the other end is gone
                    break
        assert self._shows(text, without), "\n".join(self.screen.display)
        return [line.rstrip() for line in self.screen.display]

    def press(self, keys: bytes) -> None:
        os.write(self._parent, keys)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._parent)


def test_a_screen_of_functions() -> None:
    terminal = Terminal("latency", "vfs_read", "vfs_write", "vfs_open", "--live")
    try:
        lines = terminal.until("vfs_open")
        assert "3 functions attached" in lines[0]
        assert any("CALLS" in line and "FUNCTION" in line for line in lines)
        terminal.press(b"/vfs_r\r")
        terminal.until("1 match 'vfs_r'", without="vfs_open")
        terminal.press(b"\r")
        lines = terminal.until("ksys_read", without="FUNCTION")
        assert any("called from" in line for line in lines), lines
        assert any("calls" in line for line in lines[1:4]), lines
        terminal.press(b"\x1b")
        terminal.until("1 match", without="called from")  # q in the same moment would be Alt-q
        terminal.press(b"q")
        lines = terminal.until("attached 3 of 3 functions")
        assert any("vfs_write" in line for line in lines), "the results, whatever the filter was"
        assert terminal.process.wait(30) == 0
    finally:
        terminal.close()


def test_a_screen_of_failures() -> None:
    names = ("vfs_statx", "filename_lookup", "path_lookupat", "do_filp_open")
    terminal = Terminal("errors", *names, "--live", "--deny", "EAGAIN,ECHILD,NULL")
    try:
        lines = terminal.until("ENOENT")
        assert "functions attached" in lines[0]
        assert any("COUNT" in line and "OUTCOME" in line for line in lines)
        terminal.press(b"/ENOENT path_lookupat\r")
        terminal.until("match 'ENOENT path_lookupat'")
        terminal.press(b"\r")
        lines = terminal.until("]: path_lookupat(nd=", without="FIRST TO FAIL")
        assert any("the first one:" in line for line in lines), lines
        assert any(" times ENOENT, returned by vfs_statx as ENOENT" in line for line in lines), lines
        path = ["vfs_statx", "  filename_lookup", "    path_lookupat"]
        assert any(lines[n : n + 3] == path for n in range(len(lines))), lines
        lines = terminal.until("%  filename_lookup")
        assert any("called from" in line for line in lines), lines
        terminal.press(b"\x1b")
        terminal.until("FIRST TO FAIL")
        terminal.press(b"q")
        lines = terminal.until("missed:")
        assert any("attached" in line for line in lines)
        assert terminal.process.wait(30) == 0
    finally:
        terminal.close()

"""A terminal emulator that commands run on, and what they may show there."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import sys
import termios
import threading

import pyte
import pytest
from measured import COMMS, NAMES

from multiprobe.cells import cell_width
from multiprobe.cli.main import run
from multiprobe.names import printable

WIDTHS = (40, 80, 100, 200)
ENCODINGS = ("utf-8", "ascii", "iso8859-1", "iso8859-9", "cp1252")
NUMBER = re.compile(r"(?<![\w.,\\-])(\d+(?:,\d{3})*(?:\.\d+)?%?)(?!\w)(?:\s+(ns|µs|us|ms|s|MB)\b)?")


class Terminal:
    """Runs a command line with standard output and error on a pseudo-terminal; `text` is all that it got."""

    def __init__(self, width: int, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.width, self.encoding, self._monkeypatch = width, encoding, monkeypatch

    def run(self, *words: str, **environment: str) -> int:
        parent, child = pty.openpty()
        fcntl.ioctl(parent, termios.TIOCSWINSZ, struct.pack("HHHH", 24, self.width, 0, 0))
        pieces: list[bytes] = []
        reader = threading.Thread(target=_read, args=(parent, pieces))
        reader.start()
        stream = io.TextIOWrapper(io.FileIO(child, "w"), encoding=self.encoding, errors="strict")
        with self._monkeypatch.context() as patch, stream:
            patch.setattr(sys, "stdout", stream)
            patch.setattr(sys, "stderr", stream)
            patch.setenv("TERM", "xterm")
            patch.delenv("COLUMNS", raising=False)
            patch.delenv("NO_COLOR", raising=False)
            for name, value in environment.items():
                patch.setenv(name, value)
            status = run(words)
            stream.flush()
        reader.join()
        os.close(parent)
        self.text = b"".join(pieces).decode(self.encoding)
        return status

    def lines(self) -> list[str]:
        """What a terminal shows that is wide enough for anything."""
        screen = pyte.Screen(self.width + 400, self.text.count("\n") + 2)
        pyte.Stream(screen).feed(self.text)
        return [_line(screen, y) for y in range(screen.lines)]


def _line(screen: pyte.Screen, y: int) -> str:
    row = screen.buffer[y]
    return "".join(row[x].data for x in range(max(row, default=-1) + 1)).rstrip()


def _read(fd: int, pieces: list[bytes]) -> None:
    """Until the terminal's other end is closed."""
    try:
        while piece := os.read(fd, 1 << 16):
            pieces.append(piece)
    except OSError:
        pass


def numbers(text: str) -> set[tuple[str, str]]:
    """All numbers with their units; "" for those that have none."""
    return {(match[1], (match[2] or "").replace("µ", "u")) for match in NUMBER.finditer(text)}


def written(name: str, encoding: str) -> str:
    """How a name is written in an encoding."""
    return printable(name).encode(encoding, "backslashreplace").decode(encoding)


def can_be_read(name: str, lines: list[str]) -> bool:
    """Whether a name is there: on one line, or in pieces in the same column of lines below each other."""
    name = "".join(name.split())
    edges = {
        match.start()
        for line in lines
        if re.search(r"\b(FUNCTION|LINK|HOST)\b", line)
        for match in re.finditer(r"\S+", line)
    }
    columns = [(0, None), *((start, end) for start in edges for end in (*edges, None) if end is None or start < end)]
    return any(name in "".join("".join(_cells(line)[start:end]) for line in lines) for start, end in columns)


def _cells(line: str) -> list[str]:
    """A line's letters by columns of the screen, without spaces."""
    return ["" if letter == " " else part for letter in line for part in (letter, *[""] * (cell_width(letter) - 1))]


def in_full(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a pipe gets."""
    run(words)
    printed = capsys.readouterr()
    return printed.out + printed.err


def check(terminal: Terminal, whole: str, names: list[str]) -> None:
    """What a terminal shows is what a pipe gets, but for columns that were left out."""
    lines = terminal.lines()
    shown = re.sub(r"fake-[\da-f\s]+/|127.0.0.1:\d+", "", "\n".join(lines))  # a directory, a port: both are random
    assert max(map(cell_width, lines)) <= terminal.width, max(lines, key=cell_width)
    unknown = numbers(re.sub(rf"not shown in {terminal.width}\s+columns", "", shown)) - numbers(whole)
    assert not unknown, f"{unknown}\n{shown}"
    unread = [name for name in names if not can_be_read(written(name, terminal.encoding), lines)]
    assert not unread, f"{unread}\n{shown}"
    known = "|".join(re.escape("".join(written(n, terminal.encoding).split())) for n in (*COMMS, *NAMES) if n.strip())
    assert r"\u" not in re.sub(known, "", "".join(shown.split()))

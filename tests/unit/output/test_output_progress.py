from __future__ import annotations

import io
import time

import pyte
import pytest

from multiprobe.output.json_lines import write_json_lines
from multiprobe.output.live import LiveTable
from multiprobe.output.progress import Progress
from multiprobe.output.table import Column, TextTable


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def terminal_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")


def wait_for(text: str, file: io.StringIO) -> None:
    deadline = time.monotonic() + 20
    while text not in file.getvalue():
        assert time.monotonic() < deadline, file.getvalue()
        time.sleep(0.01)


def test_what_is_quick_is_not_mentioned() -> None:
    file = io.StringIO()
    with Progress("attaching", file=file):
        pass
    assert file.getvalue() == ""


def test_what_takes_long_is_said_once_in_a_file() -> None:
    file = io.StringIO()
    with Progress("attaching", file=file, patience=0.02):
        time.sleep(0.15)
    assert file.getvalue().startswith("attaching …\nattaching: done in 0.")
    assert file.getvalue().count("\n") == 2


def test_a_terminal_is_left_clean() -> None:
    file = Terminal()
    with Progress("attaching", file=file, patience=0.02):
        wait_for("attaching", file)
    screen = pyte.Screen(80, 5)
    pyte.Stream(screen).feed(file.getvalue().replace("\n", "\r\n"))
    assert [line.strip() for line in screen.display] == [""] * 5
    assert not screen.cursor.hidden


def test_how_far_it_has_come() -> None:
    file = Terminal()
    with Progress("attaching", file=file, patience=0.02) as shown:
        shown.update(300, 1200)
        wait_for("300 of 1,200", file)
        shown.update(1100, 1200)
        wait_for("1,100 of 1,200", file)
    assert "0:00:0" in file.getvalue()


def test_one_step_after_the_other() -> None:
    file = Terminal()
    with Progress(file=file, patience=0.02, is_bytes=True) as shown:
        shown.step("reading lists")
        wait_for("reading lists", file)
        shown.step("fetching [6.1]", 5_000_000, 30_000_000)
        wait_for("fetching [6.1]", file)
        wait_for("5 of 30 MB", file)
        shown.step("")
        ended = file.getvalue()
        time.sleep(0.3)
        assert file.getvalue() == ended, "the terminal is another's now"


def test_steps_in_a_file() -> None:
    file = io.StringIO()
    with Progress(file=file, patience=0.02) as shown:
        shown.step("reading lists")
        wait_for("reading lists …\n", file)
        shown.step("booting", is_for_terminal=True)
        time.sleep(0.1)
        shown.step("")
    assert [line.split(" in ")[0] for line in file.getvalue().splitlines()] == [
        "reading lists …",
        "reading lists: done",
    ]


class Broken(io.StringIO):
    def write(self, _text: str) -> int:
        raise BrokenPipeError


def test_a_reader_that_is_gone_stops_nothing() -> None:
    with Progress("attaching", file=Broken(), patience=0.02):
        time.sleep(0.1)


def test_an_error_passes_and_nothing_is_said_to_be_done() -> None:
    file = io.StringIO()
    with pytest.raises(ValueError, match="odd"), Progress("attaching", file=file, patience=0.02):  # noqa: PT012
        time.sleep(0.1)
        raise ValueError("odd")
    assert "done" not in file.getvalue()


def test_json_is_one_object_a_line() -> None:
    file = io.StringIO()
    write_json_lines([{"a": 1}, {"b": "ä\n"}], file)
    assert file.getvalue() == '{"a":1}\n{"b":"ä\\n"}\n'


def test_the_live_table_is_drawn_and_wiped() -> None:
    terminal = Terminal()
    with LiveTable(terminal) as live:
        assert live.rows >= 3
        live.show("3 functions, 1 s", TextTable((Column("CALLS", True), Column("FUNCTION")), [("7", "tcp_sendmsg")]))
        live.show("3 functions, 2 s", TextTable((Column("CALLS", True), Column("FUNCTION")), [("9", "tcp_sendmsg")]))
    assert "tcp_sendmsg" in terminal.getvalue()


def test_on_a_dumb_terminal_it_is_said_as_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    file = Terminal()
    with Progress("attaching", file=file, patience=0.02):
        time.sleep(0.15)
    assert file.getvalue().startswith("attaching …\nattaching: done in 0.")

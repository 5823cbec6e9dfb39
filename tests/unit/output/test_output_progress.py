from __future__ import annotations

import io
import time

import pytest

from multiprobe.output.json_lines import write_json_lines
from multiprobe.output.live import LiveTable
from multiprobe.output.progress import Progress
from multiprobe.output.table import Column, TextTable


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


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
        time.sleep(0.15)
    assert "attaching … 0 s" in file.getvalue()
    assert file.getvalue().endswith("\r\x1b[K")


def test_how_far_it_has_come() -> None:
    file = Terminal()
    with Progress("attaching", file=file, patience=0.02) as shown:
        shown.update(300, 1200)
        time.sleep(0.15)
    assert "attaching, 300 of 1,200 done … 0 s" in file.getvalue()


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

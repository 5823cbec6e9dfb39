"""The full-screen view: keys decoded, keys acted on, lines drawn; and the whole of it in a real (pseudo) terminal."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multiprobe.output.keys import decode_keys
from multiprobe.output.table import Column
from multiprobe.output.view import Frame, Row, View, arrange, draw, n_lines, press, scroll

COLUMNS = (Column("CALLS", is_number=True), Column("RATE/S", is_number=True), Column("FUNCTION"))
HEIGHT = 10


def frame_of(*rows: tuple[int, float, str]) -> Frame:
    return Frame("title", COLUMNS, [Row(k, (str(c), f"{r}", n), (c, r, n)) for k, (c, r, n) in enumerate(rows)])


FRAME = frame_of((10, 1.5, "vfs_read"), (300, 0.5, "tcp_sendmsg"), (20, 9.0, "vfs_write"), (20, 0.1, "vfs_open"))


def names(view: View, frame: Frame = FRAME) -> list[str]:
    return [row.cells[-1] for row in arrange(view, frame)]


def after(keys: str | list[str], view: View | None = None, frame: Frame = FRAME) -> View:
    view = View() if view is None else view
    for key in keys:
        view = scroll(press(view, key, frame, height=HEIGHT), frame, height=HEIGHT)
    return view


@pytest.mark.parametrize(
    ("data", "keys", "left"),
    [
        (b"qr/ ", ["q", "r", "/", " "], b""),
        (b"\x1b[A\x1b[B\x1bOC\x1b[D", ["up", "down", "right", "left"], b""),
        (b"\x1b[5~\x1b[6~\x1b[1;5H\x1b[F", ["page up", "page down", "home", "end"], b""),
        (b"\x1b", ["escape"], b""),
        (b"\x1b\x1b[A", ["escape", "up"], b""),
        (b"\x1b[", [], b"\x1b["),
        (b"a\x1b[1;", ["a"], b"\x1b[1;"),
        (b"\r\x7f\x15\x03", ["enter", "backspace", "ctrl-u"], b""),
        ("é\u20ac".encode(), ["é", "€"], b""),
        ("é".encode()[:1], [], "é".encode()[:1]),
        (b"\x1b[99~\x1b[200~x", ["x"], b""),
    ],
)
def test_keys(data: bytes, keys: list[str], left: bytes) -> None:
    assert decode_keys(data) == (keys, left)


@given(st.binary(max_size=40))
def test_any_bytes_are_taken(data: bytes) -> None:
    keys, left = decode_keys(data)
    assert all(keys)
    assert data.endswith(left)


def test_sorting() -> None:
    assert names(View()) == ["tcp_sendmsg", "vfs_open", "vfs_write", "vfs_read"], "the largest first, then by name"
    assert names(after(["right"])) == ["vfs_write", "vfs_read", "tcp_sendmsg", "vfs_open"]
    assert names(after(["left"])) == sorted(names(View())), "names from A"
    assert names(after("r"))[0] == "vfs_read"
    assert names(after(["left", "r"])) == sorted(names(View()), reverse=True)


def test_filtering() -> None:
    view = after("/vfs_")
    assert view.is_typing
    assert set(names(view)) == {"vfs_read", "vfs_write", "vfs_open"}
    assert names(after(["enter"], view)) == names(view)
    assert names(after(["backspace", *"?r*"], after("/v"))) == [], "?r* is typed, not acted on"
    assert set(names(after("/*_?e*"))) == {"vfs_read", "tcp_sendmsg"}
    assert len(names(after(["escape"], view))) == 4


def test_moving_follows_the_row_and_not_the_place() -> None:
    view = after(["down"])
    assert view.selected == 3
    moved = frame_of((10, 1.5, "vfs_read"), (300, 0.5, "tcp_sendmsg"), (20, 9.0, "vfs_write"), (999, 0.1, "vfs_open"))
    assert after(["down"], view, moved).selected == 1, "vfs_open is first now, tcp_sendmsg second"
    assert after(["end"]).selected == 0
    assert after(["up", "up"]).selected == 1


def test_pausing_shows_what_was() -> None:
    view = after(" ")
    later = frame_of((1, 1.0, "later"))
    text = [line.text for line in draw(view, later, (), width=60, height=HEIGHT)]
    assert "PAUSED" in text[0]
    assert any("tcp_sendmsg" in line for line in text)
    assert not any("later" in line for line in text)
    assert after(" ", view, later).frozen is None


def test_details_open_and_close() -> None:
    view = after(["down", "enter"])
    assert view.details == 3
    assert [line.text for line in draw(view, FRAME, ["a histogram"], width=40, height=HEIGHT)][1] == "a histogram"
    assert after(["down"], view).details == 2, "moving shows the next one's"
    assert after(["escape"], view).details is None
    assert after(["enter"], view).details is None


def test_an_empty_frame() -> None:
    empty = frame_of()
    view = after([*"jkGgr?? ", "enter", "left", "page down"], frame=empty)
    assert draw(view, empty, (), width=20, height=5)


@given(
    st.lists(
        st.sampled_from(["up", "down", "page down", "home", "end", "left", "r", "/", "v", "enter", "escape", " "])
    ),
    st.integers(0, 30),
    st.integers(4, 40),
    st.integers(1, 100),
)
def test_any_keys_leave_a_screen_that_fits(keys: list[str], n_rows: int, height: int, width: int) -> None:
    frame = frame_of(*((n * 7 % 5, n * 3 % 7, f"vfs_{n}") for n in range(n_rows)))
    view = View()
    for key in keys:
        view = scroll(press(view, key, frame, height=height), frame, height=height)
        lines = draw(view, frame, ["details"], width=width, height=height)
        assert len(lines) == height
        assert all(len(line.text) <= width for line in lines)
        rows = arrange(view, view.frozen or frame)
        if rows and not view.has_help and view.details is None:
            assert sum(line.style == "selected" for line in lines) == 1
            assert len(lines) <= n_lines(height) + 3


PROGRAM = """
import sys, time
from multiprobe.output.fullscreen import FullScreen
from multiprobe.output.table import Column
from multiprobe.output.view import Frame, Row
columns = (Column("CALLS", True), Column("FUNCTION"))
with FullScreen(keyboard=0, screen=sys.stdout, details=lambda key: [f"details of {key}"]) as screen:
    n = 0
    while not screen.is_ended and n < 400:
        n += 1
        rows = [Row(k, (str(n + k), f"function_{k}"), (n + k, f"function_{k}")) for k in range(50)]
        screen.show(Frame(f"frame {n}", columns, rows))
        time.sleep(0.02)
print("ended" if screen.is_ended else "timed out", flush=True)
"""


def test_in_a_terminal() -> None:
    """Keys typed into a pseudo terminal; what it then shows, by a terminal emulator."""
    screen = pyte.Screen(60, 12)
    stream = pyte.ByteStream(screen)
    parent, child = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "60", "LINES": "12"}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=child, stdout=child, stderr=subprocess.PIPE, env=environment
    )
    os.close(child)

    def until(text: str) -> None:
        deadline = time.monotonic() + 20
        while not any(text in line for line in screen.display):
            assert time.monotonic() < deadline, "\n".join(screen.display)
            if select.select([parent], [], [], 0.1)[0]:
                stream.feed(os.read(parent, 65536))

    try:
        until("function_49")
        os.write(parent, b"/_7")
        until("filter: _7_")
        until("1 match '_7'")
        os.write(parent, b"\r\r")
        until("details of 7")
        os.write(parent, b"\x1b")
        until("function_7")
        os.write(parent, b" ")
        until("PAUSED")
        os.write(parent, b"q")
        until("ended")
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
        os.close(parent)


def test_filters_look_at_a_rows_text_where_it_has_one() -> None:
    rows = [Row(0, ("1", "1", "name"), (1, 1.0, "name"), "ENOENT open"), Row(1, ("2", "2", "open"), (2, 2.0, "open"))]
    frame = Frame("title", COLUMNS, rows)
    assert [row.key for row in arrange(View(filter="open"), frame)] == [1, 0]
    assert [row.key for row in arrange(View(filter="ENOENT*"), frame)] == [0]
    assert not arrange(View(filter="name"), frame)

"""Streams on their way: every byte, no mark, and readers that leave."""

from __future__ import annotations

import os
import socket

from hypothesis import given
from hypothesis import strategies as st

from multiprobe.vm.streams import Console, Pump, Stdin, Unmarked

MARK = b"\1\1ab"


@given(st.binary(max_size=40), st.lists(st.integers(1, 5), max_size=30), st.sampled_from([MARK, b"\1x", b"a"]))
def test_a_stream_comes_out_as_it_went_in(content: bytes, cuts: list[int], mark: bytes) -> None:
    content = content.replace(mark, b"")
    if mark in content or mark in (content + mark)[: len(content) + len(mark) - 1]:
        return
    stream, out, left = Unmarked(mark), b"", content + mark
    for cut in [*cuts, len(left)]:
        out += stream.feed(left[:cut])
        left = left[cut:]
    assert stream.has_ended
    assert out == content


def test_only_the_beginning_of_a_mark_is_held_back() -> None:
    stream = Unmarked(MARK)
    assert stream.feed(b"prompt> ") == b"prompt> "
    assert stream.feed(b"x\1") == b"x"
    assert stream.feed(b"\1") == b""
    assert stream.feed(b"\1") == b"\1"
    assert stream.rest() == b"\1\1"
    assert not stream.has_ended


def pumped(*chunks: bytes) -> tuple[bytes, Pump]:
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    pump = Pump(ours, writing, MARK, lambda: None)
    pump.start()
    with ours, theirs:
        for chunk in chunks:
            theirs.sendall(chunk)
        theirs.shutdown(socket.SHUT_WR)
        pump.join()
    os.close(writing)
    with open(reading, "rb") as file:
        return file.read(), pump


def test_a_pump_ends_at_the_mark() -> None:
    data, pump = pumped(b"one", b"two\1", b"\1ab", b"never seen")
    assert data == b"onetwo"
    assert pump.has_ended


def test_a_pump_whose_guest_is_gone_gives_what_it_has() -> None:
    data, pump = pumped(b"one\1")
    assert data == b"one\1"
    assert not pump.has_ended


def test_a_reader_that_left_is_told_and_the_rest_dropped() -> None:
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    os.close(reading)
    hung_up: list[bool] = []
    pump = Pump(ours, writing, MARK, lambda: hung_up.append(True))
    pump.start()
    with ours, theirs:
        theirs.sendall(b"a")
        theirs.sendall(b"b" * 100_000 + MARK)
        pump.join()
    os.close(writing)
    assert hung_up == [True]
    assert pump.has_ended


def test_stdin_passes_and_ends() -> None:
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    with ours, theirs, Stdin(reading, ours):
        os.write(writing, b"typed")
        os.close(writing)
        assert theirs.recv(100) == b"typed"
        assert theirs.recv(100) == b""
    os.close(reading)


def test_stdin_that_nobody_types_on_can_be_left() -> None:
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    with ours, theirs, Stdin(reading, ours):
        pass
    os.close(reading)
    os.close(writing)


def test_the_console_keeps_its_last_lines() -> None:
    ours, theirs = socket.socketpair()
    console = Console(ours)
    console.start()
    with ours, theirs:
        for byte in b"".join(b"line %d\r\n" % n for n in range(100)) + b"\r\n":
            theirs.send(bytes((byte,)))
        theirs.shutdown(socket.SHUT_WR)
        console.join()
    assert console.end(2).splitlines() == ["line 99"]
    assert console.end(3).splitlines() == ["line 98", "line 99"]
    assert len(console.end(1000).splitlines()) == 100

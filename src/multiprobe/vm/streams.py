"""Copies the guest's output to the host's streams, as it comes, and finds its end.

A port has no end of file, so the guest writes a mark after the last byte; `Unmarked` removes it.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable
from types import TracebackType

_CHUNK = 1 << 16
_CONSOLE_BYTES = 1 << 16


class Unmarked:
    """Removes the mark that ends a stream; holds back only bytes that may be the start of the mark."""

    def __init__(self, mark: bytes) -> None:
        self._mark = mark
        self._held = b""
        self.has_ended = False

    def feed(self, data: bytes) -> bytes:
        """The next bytes of the stream, without the mark."""
        data = self._held + data
        self._held = b""
        at = data.find(self._mark)
        if at >= 0:
            self.has_ended = True
            return data[:at]
        keep = next(
            (n for n in range(min(len(self._mark) - 1, len(data)), 0, -1) if self._mark.startswith(data[-n:])), 0
        )
        if keep:
            self._held = data[-keep:]
            return data[:-keep]
        return data

    def rest(self) -> bytes:
        """The bytes held back, when the stream ended without its mark."""
        held, self._held = self._held, b""
        return held


class Pump(threading.Thread):
    """Copies one of the guest's streams to a file descriptor until its mark, or until QEMU is gone."""

    def __init__(self, source: socket.socket, target: int, mark: bytes, on_hangup: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._source = source
        self._target = target
        self._stream = Unmarked(mark)
        self._on_hangup = on_hangup
        self.n_bytes = 0

    @property
    def has_ended(self) -> bool:
        """Whether the mark was seen: all that the guest wrote has arrived."""
        return self._stream.has_ended

    def run(self) -> None:
        while not self._stream.has_ended:
            data = _receive(self._source)
            if not data:
                self._write(self._stream.rest())
                return
            self._write(self._stream.feed(data))

    def _write(self, data: bytes) -> None:
        self.n_bytes += len(data)
        if self._target < 0:
            return
        try:
            write_all(self._target, data)
        except OSError:  # nobody reads it any more: tell the writer, and drop the rest
            self._target = -1
            self._on_hangup()


class Console(threading.Thread):
    """Keeps the last lines that the guest's kernel prints."""

    def __init__(self, source: socket.socket) -> None:
        super().__init__(daemon=True)
        self._source = source
        self._text = bytearray()

    def run(self) -> None:
        while data := _receive(self._source):  # a serial line gives it byte by byte
            self._text += data
            if len(self._text) > 2 * _CONSOLE_BYTES:
                del self._text[:-_CONSOLE_BYTES]

    def end(self, n_lines: int = 60) -> str:
        """Its last lines."""
        text = bytes(self._text).decode(errors="replace")
        return "\n".join(line.rstrip() for line in text.splitlines()[-n_lines:] if line.strip())


class Stdin(threading.Thread):
    """Copies a file descriptor to the guest while entered, then the end of file; `on_data` sees all chunks."""

    def __init__(
        self, source: int, target: socket.socket, *, on_data: Callable[[bytes], None] = lambda _: None
    ) -> None:
        super().__init__(daemon=True)
        self._source = source
        self._target = target
        self._on_data = on_data
        self._stop_reader, self._stop_writer = os.pipe()

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while self._is_readable() and (data := os.read(self._source, _CHUNK)):
                self._on_data(data)
                self._target.sendall(data)
        with contextlib.suppress(OSError):
            self._target.shutdown(socket.SHUT_WR)

    def _is_readable(self) -> bool:
        waiting = select.poll()
        for fd in (self._source, self._stop_reader):
            waiting.register(fd, select.POLLIN)
        return all(fd != self._stop_reader for fd, _ in waiting.poll())

    def __enter__(self) -> Stdin:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        os.close(self._stop_writer)
        with contextlib.suppress(OSError):
            self._target.shutdown(socket.SHUT_WR)  # it may be in the middle of sending
        self.join()
        os.close(self._stop_reader)


def write_all(target: int, data: bytes) -> None:
    """Write every byte."""
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]


def _receive(source: socket.socket) -> bytes:
    try:
        return source.recv(_CHUNK)
    except OSError:
        return b""

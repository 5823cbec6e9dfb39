"""What a terminal sends for keys: bytes in, names of keys out. Pure.

Knows the sequences of xterm and the Linux console (ECMA-48 CSI and SS3 forms); must not read a terminal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ESCAPE = 0x1B
_FINAL = {
    b"A": "up",
    b"B": "down",
    b"C": "right",
    b"D": "left",
    b"H": "home",
    b"F": "end",
}
_TILDE = {b"1": "home", b"4": "end", b"5": "page up", b"6": "page down", b"7": "home", b"8": "end", b"3": "delete"}
_CONTROL = {0x0D: "enter", 0x0A: "enter", 0x7F: "backspace", 0x08: "backspace", 0x09: "tab", 0x15: "ctrl-u"}


def decode_keys(data: bytes) -> tuple[list[str], bytes]:
    """The keys in `data`, and what is left of a sequence that isn't complete yet.

    A printable key is itself ("q", "/", " ", "é"), the others have names ("up", "page down", "enter", "escape").
    Sequences that aren't known are passed over.
    """
    keys = list(_decode(data))
    left = keys.pop() if keys and isinstance(keys[-1], bytes) else b""
    assert isinstance(left, bytes)
    return [key for key in keys if isinstance(key, str) and key], left


def _decode(data: bytes) -> Iterator[str | bytes]:
    place = 0
    while place < len(data):
        size, key = _next(data, place)
        if not size:
            yield data[place:]
            return
        yield key
        place += size


def _next(data: bytes, place: int) -> tuple[int, str]:
    """How many bytes the key at `place` takes and its name ("" for none); 0 bytes when it isn't complete."""
    byte = data[place]
    if byte == ESCAPE:
        return _sequence(data, place)
    if byte in _CONTROL:
        return 1, _CONTROL[byte]
    if byte < 0x20:
        return 1, ""
    size = 1 if byte < 0xC0 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
    if place + size > len(data):
        return 0, ""
    return size, data[place : place + size].decode(errors="ignore")


def _sequence(data: bytes, place: int) -> tuple[int, str]:
    """A key that begins with Escape; alone at the end of the data it is the Escape key itself."""
    if place + 1 == len(data):
        return 1, "escape"
    kind = data[place + 1 : place + 2]
    if kind == b"O":
        return (3, _FINAL.get(data[place + 2 : place + 3], "")) if place + 2 < len(data) else (0, "")
    if kind != b"[":
        return 1, "escape"
    end = place + 2
    while end < len(data) and 0x20 <= data[end] < 0x40:
        end += 1
    if end == len(data):
        return 0, ""
    final, parameters = data[end : end + 1], data[place + 2 : end]
    name = _TILDE.get(parameters.partition(b";")[0], "") if final == b"~" else _FINAL.get(final, "")
    return end + 1 - place, name

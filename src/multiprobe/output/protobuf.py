"""Protocol buffers' wire format, as much of it as writing takes: varints, strings, messages inside messages.

The `protobuf` package would bring a generated module of 600 kB for a dozen fields, an order of magnitude slower in
Python than this, and a dependency of every user; the format is four rules that never change
(https://protobuf.dev/programming-guides/encoding/).
"""

from __future__ import annotations

from struct import pack

from multiprobe.names import printable

_VARINT, _BYTES, _DOUBLE = 0, 2, 1
_MASK = (1 << 64) - 1


def varint(number: int) -> bytes:
    """A number of 0 … 2⁶⁴−1; one below 0 is written as the field type int64 does: in two's complement."""
    number &= _MASK
    if number < 0x80:
        return bytes((number,))
    made = bytearray()
    while number >= 0x80:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)


def number(field: int, value: int) -> bytes:
    """A field of an integer, bool or enum type."""
    return varint(field << 3 | _VARINT) + varint(value)


def double(field: int, value: float) -> bytes:
    """A field of type double."""
    return varint(field << 3 | _DOUBLE) + pack("<d", value)


def text(field: int, value: str) -> bytes:
    """A field of type string; control characters and lone surrogates are spelled by escapes."""
    return message(field, printable(value).encode())


def message(field: int, *parts: bytes) -> bytes:
    """A field that holds a message: its fields, encoded, one after the other. Bytes are written alike."""
    content = b"".join(parts)
    return varint(field << 3 | _BYTES) + varint(len(content)) + content

"""Parses text files with one record per line into columns, with NumPy: the bulk part of reading the kernel's lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from multiprobe.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Positions = NDArray[np.int64]

NEWLINE, SPACE, TAB = 10, 32, 9
NOT_HEX = 255


def split_lines(data: bytes, *, what: str) -> tuple[Bytes, Positions, Positions]:
    """The bytes of `data`, and the positions of each line's start and newline.

    A last line without a newline is a file that was cut off: `DataError`.
    """
    if data and not data.endswith(b"\n"):
        line = data.count(b"\n") + 1
        raise DataError(
            f"{what} is cut off at byte {len(data)}, in line {line}", hint="copy the whole file again and retry"
        )
    text = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero(text == NEWLINE)
    starts = np.empty_like(ends)
    starts[:1] = 0
    starts[1:] = ends[:-1] + 1
    return text, starts, ends


def complain(what: str, data: bytes, position: int, problem: str) -> DataError:
    """The error for a line that can't be read, with its number and text."""
    line = data.count(b"\n", 0, position) + 1
    start = data.rfind(b"\n", 0, position) + 1
    end = data.find(b"\n", start)
    shown = data[start : min(end, start + 80)].decode("ascii", "backslashreplace")
    return DataError(f"{what}, line {line} (byte {start}): {problem}: {shown!r}")


def hex_width(data: bytes) -> int:
    """How many hexadecimal digits the first line begins with (16 on 64-bit kernels, 8 on 32-bit ones)."""
    head = data[:17]
    width = head.find(b" ")
    return width if width > 0 else 16


def hex_numbers(text: Bytes, starts: Positions, width: int) -> tuple[NDArray[np.uint64], int]:
    """The numbers of `width` hexadecimal digits at `starts`, and the index of the first that isn't one, or -1.

    The caller makes sure that `starts + width` lies within `text`.
    """
    numbers = np.zeros(len(starts), dtype=np.uint64)
    bad = np.zeros(len(starts), dtype=np.uint8)
    for place in range(width):
        digits = _NIBBLES[text[starts + place]]
        bad |= digits
        numbers <<= np.uint64(4)
        numbers |= digits
    wrong = np.flatnonzero(bad > 15)
    return numbers, int(wrong[0]) if len(wrong) else -1


def _nibbles() -> Bytes:
    table = np.full(256, NOT_HEX, dtype=np.uint8)
    for digit in range(16):
        table[ord(f"{digit:x}")] = table[ord(f"{digit:X}")] = digit
    return table


_NIBBLES = _nibbles()


def names_between(text: Bytes, starts: Positions, ends: Positions, line_ends: Positions) -> tuple[bytes, Positions]:
    """The pieces `text[starts[i]:ends[i]]`, one from each line, each followed by a newline; and their offsets (n + 1).

    No piece is empty; `line_ends` are the newlines of the same lines, all of them, in order.
    """
    switch = np.zeros(len(text) + 1, dtype=np.int8)
    switch[starts] = 1
    switch[ends] = -1
    keep = np.cumsum(switch[:-1], dtype=np.int8).view(np.bool_)
    keep[line_ends] = True
    offsets = np.zeros(len(starts) + 1, dtype=np.int64)
    np.cumsum(ends - starts + 1, out=offsets[1:])
    return text[keep].tobytes(), offsets


@dataclass(frozen=True, slots=True)
class NameColumns:
    """Names and modules of lines that end in `name` or `name[module]`; the module with index 0 is "", of none."""

    names: bytes
    name_offsets: NDArray[np.uint32]
    modules: NDArray[np.uint16]
    module_names: list[str]


def name_columns(text: Bytes, starts: Positions, line_ends: Positions, marks: Positions) -> NameColumns:
    """The columns of names that begin at `starts`; a separator at `marks` precedes the `[` of a line's module."""
    rows = np.searchsorted(line_ends, marks)
    name_ends = line_ends.copy()
    name_ends[rows] = marks
    names, offsets = names_between(text, starts, name_ends, line_ends)
    labels, module_names = label_lines(text, marks + 2, line_ends[rows] - 1)
    modules = np.zeros(len(starts), dtype=np.uint16)
    modules[rows] = labels + 1
    return NameColumns(names, offsets.astype(np.uint32), modules, ["", *module_names])


def label_lines(text: Bytes, starts: Positions, ends: Positions) -> tuple[NDArray[np.uint16], list[str]]:
    """Number the pieces `text[starts[i]:ends[i]]` by their text: an index for each; the texts, as they appear.

    Fast where equal pieces stand next to each other, as the symbols of one module do.
    """
    if not len(starts):
        return np.zeros(0, dtype=np.uint16), []
    lengths = ends - starts
    changed = np.ones(len(starts), dtype=np.bool_)
    changed[1:] = lengths[1:] != lengths[:-1]
    for place in range(int(lengths.max())):
        inside = np.flatnonzero(~changed[1:] & (lengths[1:] > place)) + 1
        if not len(inside):
            break
        changed[inside] = text[starts[inside] + place] != text[starts[inside - 1] + place]
    known: dict[str, int] = {}
    labels = []
    for row in np.flatnonzero(changed):
        label = text[starts[row] : ends[row]].tobytes().decode("ascii", "backslashreplace")
        labels.append(known.setdefault(label, len(known)))
    return np.array(labels, dtype=np.uint16)[np.cumsum(changed) - 1], list(known)

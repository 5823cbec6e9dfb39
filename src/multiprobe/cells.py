"""Measures text in cells of a terminal, and folds lines that are wider than a screen. Nothing of a text is lost."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from unicodedata import category, east_asian_width

if TYPE_CHECKING:
    from collections.abc import Iterator

_HANG = 4
_IN_NAME = re.compile(r"[\w.,\\]")
_GAPS = re.compile(r"( +)")


def cell_width(text: str) -> int:
    """The number of cells that a terminal needs for printable text: two for a wide letter, none for an accent."""
    return len(text) if text.isascii() else sum(map(_letter_width, text))


def _letter_width(letter: str) -> int:
    return 0 if category(letter) in ("Mn", "Me") else 2 if east_asian_width(letter) in "WF" else 1


def left(text: str, width: int) -> str:
    """The text padded on its right."""
    return text + " " * (width - cell_width(text))


def right(text: str, width: int) -> str:
    """The text padded on its left."""
    return " " * (width - cell_width(text)) + text


def head(text: str, width: int) -> str:
    """As much of the beginning as fits, at least one letter."""
    if text.isascii():
        return text[: max(width, 1)]
    n, used = 0, 0
    while n < len(text) and (used + _letter_width(text[n]) <= width or n == 0):
        used += _letter_width(text[n])
        n += 1
    return text[:n]


def fold(text: str, width: int, *, hang: int | None = None) -> list[str]:
    """The text in lines of at most `width` cells, broken at spaces; a word is broken only if it is wider than a line.

    A number stays with the word behind it, its unit. Other lines than the first are indented by `hang`, by default four
    more than the text itself.
    """
    if cell_width(text) <= width:
        return [text]
    indent = len(text) - len(text.lstrip(" "))
    rest = " " * min(indent + _HANG if hang is None else hang, width // 2)
    lines: list[str] = []
    line = " " * min(indent, width // 2)
    for gap, word in _words(text[indent:]):
        if cell_width(line) + len(gap) + cell_width(word) <= width:
            line += gap + word
            continue
        if not word:  # spaces at the end
            continue
        if line.strip(" "):
            lines.append(line)
            line = rest
        while cell_width(line) + cell_width(word) > width:
            part = _before_a_break(word, head(word, width - len(line)))
            lines.append(line + part)
            line, word = rest, word[len(part) :]
        line += word
    return [*lines, line.rstrip(" ")]


def _before_a_break(word: str, part: str) -> str:
    """As much of `part`, the beginning of a word, as does not end inside of a name or number."""
    for n in range(len(part), 0, -1):
        if word[n - 1] not in "([{" and not (_IN_NAME.match(word[n - 1]) and _IN_NAME.match(word[n : n + 1])):
            return part[:n]
    return part


def _words(text: str) -> Iterator[tuple[str, str]]:
    """The words, each with the spaces before it. A number and its unit are one word."""
    parts = _GAPS.split(text)
    word, gap = parts[0], ""
    for space, following in zip(parts[1::2], parts[2::2], strict=True):
        if space == " " and word[-1:].isdigit() and following[:1].isalpha():
            word += space + following
        else:
            yield gap, word
            gap, word = space, following
    yield gap, word

"""The full-screen view as values: what is shown, how keys change it, and its lines. Pure.

Knows columns, rows, sorting, filtering, a selected row and its details; must not know terminals, nor what a row means.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fnmatch import translate
from typing import TYPE_CHECKING

from multiprobe.output.table import Column

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HELP = (
    "up down, page up, page down, home, end   move",
    "left right   sort by another column        r   turn the order round",
    "/   filter by name (text, or a glob)        escape   no filter, back",
    "enter   one row's details                   space   pause and go on",
    "?   this help                               q   end, and print the results",
)
_HEAD, _FOOT = 2, 1


@dataclass(frozen=True, slots=True)
class Row:
    """One row: `key` identifies it for good, `cells` are its texts, `order` what it is sorted by, column by column;
    filters look at `text`, or, where there is none, at the last cell."""

    key: int
    cells: tuple[str, ...]
    order: tuple[float | str, ...]
    text: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """What there is to show at one moment. The last column is the name."""

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the screen and its style: "" or "title", "heading", "selected", "note"."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """What the user has chosen to see.

    `sort` is a column's index; `selected` a row's key (None: the first row); `typing` is true while a filter is typed;
    `frozen` is the frame that is shown while paused; `details` is the key of the row whose details are open.
    """

    sort: int = 0
    is_reversed: bool = False
    filter: str = ""
    is_typing: bool = False
    selected: int | None = None
    first: int = 0
    frozen: Frame | None = None
    details: int | None = None
    has_help: bool = False
    is_ended: bool = False


def arrange(view: View, frame: Frame) -> list[Row]:
    """The rows that the filter lets through, sorted: numbers from the largest, names from A."""
    wanted = _matcher(view.filter)
    rows = [row for row in frame.rows if wanted(row.text or row.cells[-1])]
    column = min(view.sort, len(frame.columns) - 1)
    descending = frame.columns[column].is_number != view.is_reversed
    rows.sort(key=lambda row: row.cells[-1])
    rows.sort(key=lambda row: row.order[column], reverse=descending)
    return rows


def _matcher(text: str) -> Callable[[str], bool]:
    if not text:
        return lambda name: True
    if any(mark in text for mark in "*?["):
        matches = re.compile(translate(text)).match
        return lambda name: matches(name) is not None
    return lambda name: text in name


def press(view: View, key: str, frame: Frame, *, height: int) -> View:
    """The view after a key; `height` is the screen's, in lines."""
    if view.is_typing:
        return _type(view, key)
    if key in _KEYS:
        return _KEYS[key](view, frame)
    if key in _MOVES:
        return _move(view, arrange(view, view.frozen or frame), _MOVES[key], n_lines(height))
    return view


def _type(view: View, key: str) -> View:
    if key == "enter":
        return replace(view, is_typing=False)
    if key == "escape":
        return replace(view, is_typing=False, filter="")
    if key == "backspace":
        return replace(view, filter=view.filter[:-1], first=0)
    if key == "ctrl-u":
        return replace(view, filter="", first=0)
    return replace(view, filter=view.filter + key, first=0) if len(key) == 1 and key.isprintable() else view


def _move(view: View, rows: Sequence[Row], step: str, n: int) -> View:
    if not rows:
        return view
    at = _place(view, rows)
    places = {"up": at - 1, "down": at + 1, "page up": at - n, "page down": at + n, "home": 0, "end": len(rows) - 1}
    at = min(max(places[step], 0), len(rows) - 1)
    key = rows[at].key
    return replace(view, selected=key, details=key if view.details is not None else None)


_MOVES = {
    "up": "up", "down": "down", "k": "up", "j": "down", "page up": "page up", "page down": "page down", "home": "home",
    "end": "end", "g": "home", "G": "end",
}  # fmt: skip


def _back(view: View, _frame: Frame) -> View:
    if view.has_help or view.details is not None:
        return replace(view, has_help=False, details=None)
    return replace(view, filter="", first=0)


def _open(view: View, frame: Frame) -> View:
    rows = arrange(view, view.frozen or frame)
    if not rows or view.details is not None:
        return replace(view, details=None)
    key = rows[_place(view, rows)].key
    return replace(view, details=key, selected=key)


def _sort(by: int) -> Callable[[View, Frame], View]:
    def change(view: View, frame: Frame) -> View:
        return replace(view, sort=(view.sort + by) % len(frame.columns), is_reversed=False)

    return change


_KEYS: dict[str, Callable[[View, Frame], View]] = {
    "q": lambda view, frame: replace(view, is_ended=True),
    " ": lambda view, frame: replace(view, frozen=None if view.frozen else frame),
    "r": lambda view, frame: replace(view, is_reversed=not view.is_reversed),
    "/": lambda view, frame: replace(view, is_typing=True, has_help=False, details=None),
    "?": lambda view, frame: replace(view, has_help=not view.has_help),
    "left": _sort(-1),
    "right": _sort(1),
    "<": _sort(-1),
    ">": _sort(1),
    "escape": _back,
    "enter": _open,
}


def _place(view: View, rows: Sequence[Row]) -> int:
    """Where the selected row stands now; the first row if it is gone."""
    return next((place for place, row in enumerate(rows) if row.key == view.selected), 0)


def n_lines(height: int) -> int:
    """How many rows fit into a screen of `height` lines."""
    return max(1, height - _HEAD - _FOOT)


def scroll(view: View, frame: Frame, *, height: int) -> View:
    """The view with the selected row in sight."""
    rows, n = arrange(view, view.frozen or frame), n_lines(height)
    at = _place(view, rows)
    first = min(max(view.first, at - n + 1), at)
    return replace(view, first=max(0, min(first, len(rows) - n)))


def draw(view: View, frame: Frame, details: Sequence[str], *, width: int, height: int) -> list[Line]:
    """The screen's lines, `height` of them at the most, none wider than `width`."""
    shown = view.frozen or frame
    rows = arrange(view, shown)
    lines = [Line(_title(view, shown, len(rows)), "title")]
    if view.has_help:
        lines += [Line(text) for text in HELP]
    elif view.details is not None:
        lines += [Line(text) for text in details]
    else:
        lines += _table(view, shown, rows, n_lines(height))
    lines = lines[: height - _FOOT]
    lines += [Line("")] * (height - _FOOT - len(lines))
    return [Line(line.text[:width], line.style) for line in (*lines, Line(_prompt(view), "note"))]


def _title(view: View, frame: Frame, n: int) -> str:
    filtered = f", {n:,} match {view.filter!r}" if view.filter else ""
    return f"{frame.title}{filtered}{' — PAUSED' if view.frozen else ''}"


def _prompt(view: View) -> str:
    if view.is_typing:
        return f"filter: {view.filter}_"
    return "q ends  space pauses  / filters  left, right sort  enter details  ? help"


def _table(view: View, frame: Frame, rows: Sequence[Row], n: int) -> list[Line]:
    shown = rows[view.first : view.first + n]
    titles = [
        column.title + ("▲" if column.is_number == view.is_reversed else "▼") * (place == view.sort)
        for place, column in enumerate(frame.columns)
    ]
    widths = [max(map(len, cells)) for cells in zip(titles, *(row.cells for row in shown), strict=True)]
    at = _place(view, rows)
    lines = [Line(_aligned(titles, widths, frame.columns), "heading")]
    for place, row in enumerate(shown, view.first):
        lines.append(Line(_aligned(row.cells, widths, frame.columns), "selected" if place == at else ""))
    return lines


def _aligned(cells: Sequence[str], widths: Sequence[int], columns: Sequence[Column]) -> str:
    return "  ".join(
        cell.rjust(width) if column.is_number else cell.ljust(width)
        for cell, width, column in zip(cells, widths, columns, strict=True)
    ).rstrip()

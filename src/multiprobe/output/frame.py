"""What `--live` shows at one moment, as values, and how it fits a screen: filter, order, columns. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import translate
from typing import TYPE_CHECKING

from multiprobe.cells import cell_width, head, left, right
from multiprobe.names import printable
from multiprobe.output.table import GAP, NAME, fit, natural_widths

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from multiprobe.output.chart import Recent
    from multiprobe.output.table import Column

_SHORTEST = 8


@dataclass(frozen=True, slots=True)
class LiveRow:
    """A row of the table.

    key: identifies the row in all frames; cells, order: its texts, and what it is sorted by, column by column;
    text: what a filter looks at; function: the index of the function whose callers its details show (None: unknown)
    """

    key: int
    cells: tuple[str, ...]
    order: tuple[float | str, ...]
    text: str
    function: int | None


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """The table at one moment; `details(key)` gives the lines about one of its rows, and `recent(key)` its past."""

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[LiveRow]
    details: Callable[[int], Sequence[str]]
    recent: Callable[[int], Recent] | None = None


def arrange(frame: LiveFrame, *, text: str = "", sort: int = 0, is_reversed: bool = False) -> list[LiveRow]:
    """The rows that match `text`, sorted by a column: numbers from the largest, texts from A, unless reversed."""
    matches = _matcher(text)
    rows = [row for row in frame.rows if matches(row.text)]
    descending = frame.columns[sort].is_number != is_reversed
    rows.sort(key=lambda row: row.text)
    rows.sort(key=lambda row: row.order[sort], reverse=descending)
    return rows


def _matcher(text: str) -> Callable[[str], bool]:
    """A glob matches the whole text, anything else a part of it."""
    if not any(mark in text for mark in "*?["):
        return lambda name: text in name
    matches = re.compile(translate(text)).match
    return lambda name: matches(name) is not None


def fit_rows(
    columns: Sequence[Column], rows: Collection[Sequence[str]], *, width: int, keep: int | None = None
) -> list[tuple[int, int]]:
    """The columns that fit into `width` cells of a screen, in order, each as (index, width).

    rows: the texts of the cells; keep: a column that is not left out, whatever its `drop`
    """
    return fit(columns, natural_widths(columns, rows), width=width, keep=keep, name=NAME, least=_SHORTEST)


def line(cells: Sequence[str], columns: Sequence[Column], fitting: Sequence[tuple[int, int]]) -> str:
    """A row's cells in the columns that fit; what is too long is cut: a row has one line."""
    return (" " * GAP).join(_cell(cells[index], columns[index], width) for index, width in fitting)


def _cell(text: str, column: Column, width: int) -> str:
    text = printable(text)
    if cell_width(text) > width:
        text = head(text, width - 1) + "…"
    return right(text, width) if column.is_number else left(text, width)

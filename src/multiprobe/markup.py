"""Writes values as small HTML tables for notebooks: escaped, and without styles or scripts from elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.names import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

MAX_ROWS = 20
"""So many rows are shown of a long table."""
_NUMBER, _TEXT = ' style="text-align: right"', ' style="text-align: left"'


def table(
    titles: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    caption: str = "",
    numbers: Collection[int] = (),
    n_all: int | None = None,
) -> str:
    """A table of at most MAX_ROWS of `rows`; columns in `numbers` are aligned to the right.

    n_all: how many rows there are, where `rows` are only the first of them
    """
    styles = [_NUMBER if index in numbers else _TEXT for index in range(len(titles))]
    shown = rows[:MAX_ROWS]
    lines = ["<table>"]
    if caption:
        lines.append(f"<caption{_TEXT}>{text(caption)}</caption>")
    lines.append(f"<thead>{_row('th', titles, styles)}</thead>")
    lines.append("<tbody>")
    lines += [_row("td", row, styles) for row in shown]
    left = (len(rows) if n_all is None else n_all) - len(shown)
    if left > 0:
        lines.append(f'<tr><td colspan="{len(titles)}"{_TEXT}>… and {left:,} more</td></tr>')
    return "\n".join([*lines, "</tbody>", "</table>"])


def _row(tag: str, cells: Sequence[object], styles: Sequence[str]) -> str:
    made = (f"<{tag}{style}>{text(str(cell))}</{tag}>" for cell, style in zip(cells, styles, strict=True))
    return f"<tr>{''.join(made)}</tr>"


def text(raw: str) -> str:
    """`raw` as the text of an element: printable, and escaped."""
    from html import escape

    return escape(printable(raw))

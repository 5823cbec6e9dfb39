"""Tables: as aligned plain text for pipes and files, fitted to the width of a terminal, as HTML for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from multiprobe.cells import cell_width, fold, left, right
from multiprobe.markup import table
from multiprobe.names import printable
from multiprobe.output.terminal import columns_of, spelled, styled

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from typing import TextIO

GAP = 2
NAME, _NAME = 40, 20
"""Columns are left out until texts have so many cells, or all that they need; where texts are folded, a third of the
screen is enough."""
_FOLDED = 12
"""Texts are not folded to fewer cells: columns become lines instead."""


class Column(NamedTuple):
    """A column: its title, and whether its cells are numbers, which are aligned to the right and never cut.

    Where a screen is too narrow, columns are left out by `drop`, the highest first; those with 0 always stay.
    """

    title: str
    is_number: bool = False
    drop: int = 0


class TextTable(NamedTuple):
    """Columns and rows of text. `key`: the index of a column that is never left out."""

    columns: tuple[Column, ...]
    rows: Sequence[Sequence[str]]
    key: int = 0

    def _repr_html_(self) -> str:
        """For notebooks."""
        numbers = {index for index, column in enumerate(self.columns) if column.is_number}
        return table([column.title for column in self.columns], self.rows, numbers=numbers)


def natural_widths(columns: Sequence[Column], rows: Collection[Sequence[str]]) -> list[int]:
    """The width of each column that fits its title and all of its cells."""
    titles = [column.title for column in columns]
    return [max(cell_width(printable(text)) for text in texts) for texts in zip(titles, *rows, strict=True)]


def fit(
    columns: Sequence[Column], natural: Sequence[int], *, width: int, keep: int | None, name: int, least: int
) -> list[tuple[int, int]]:
    """The columns that fit into `width` cells, in order, each as (index, width).

    Numbers keep their natural width. Columns are left out until each text has `name` cells, or all that it needs; then
    the widest texts get less, down to `least`: the sum may still be above `width`.
    keep: a column that is not left out, whatever its `drop`
    """
    wanted = [n if column.is_number else min(n, name) for n, column in zip(natural, columns, strict=True)]
    kept = list(range(len(columns)))
    while total(wanted[index] for index in kept) > width:
        choice = [index for index in kept if columns[index].drop and index != keep]
        if not choice:
            break
        kept.remove(max(choice, key=lambda index: columns[index].drop))
    sizes = {index: natural[index] for index in kept}
    texts = [index for index in kept if not columns[index].is_number]
    while total(sizes.values()) > width:
        widest = max(texts, key=lambda index: sizes[index], default=None)
        if widest is None or sizes[widest] <= least:
            break
        sizes[widest] -= 1
    return list(sizes.items())


def total(widths: Collection[int] | Iterator[int]) -> int:
    """The width of columns with the gaps between them."""
    found = list(widths)
    return sum(found) + GAP * (len(found) - 1)


def table_lines(table: TextTable, *, width: int | None = None) -> Iterator[str]:
    """The table as aligned lines, titles first; the last column isn't padded.

    width: of a terminal: columns are left out (a last line names them) and texts folded until it fits; where that is
        not enough, each row becomes lines of a title and a text
    """
    rows = [[printable(cell) for cell in row] for row in table.rows]
    natural = natural_widths(table.columns, rows)
    if width is None:
        fitting = list(enumerate(natural))
    else:
        fitting = fit(
            table.columns, natural, width=width, keep=table.key, name=min(NAME, max(width // 3, _NAME)), least=_FOLDED
        )
        if total(size for _, size in fitting) > width:
            yield from _records(table, rows, width)
            return
    titles = [column.title for column in table.columns]
    for row in (titles, *rows):
        yield from _folded(
            [row[index] for index, _ in fitting], [table.columns[index] for index, _ in fitting], fitting
        )
    kept = {index for index, _ in fitting}
    if width is not None and len(kept) < len(titles):
        missing = ", ".join(title for index, title in enumerate(titles) if index not in kept)
        yield from fold(f"not shown in {width} columns: {missing}", width)


def _folded(cells: Sequence[str], columns: Sequence[Column], fitting: Sequence[tuple[int, int]]) -> Iterator[str]:
    """A row: one line, or as many as its longest text needs."""
    sizes = [size for _, size in fitting]
    parts = [fold(cell, size, hang=GAP) for cell, size in zip(cells, sizes, strict=True)]
    for n in range(max(map(len, parts), default=0)):
        texts = (part[n] if n < len(part) else "" for part in parts)
        padded = [
            right(text, size) if column.is_number else left(text, size)
            for text, size, column in zip(texts, sizes, columns, strict=True)
        ]
        yield (" " * GAP).join(padded).rstrip()


def _records(table: TextTable, rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Each row as lines of a title and a text."""
    titles = [cell_width(column.title) for column in table.columns]
    size = max((n for n in titles if n <= width // 3), default=0) + GAP
    for n, row in enumerate(rows):
        if n:
            yield ""
        for column, cell in zip(table.columns, row, strict=True):
            if cell.strip():
                yield from fold(f"{left(column.title, size - GAP)}{'':{GAP}}{cell}", width, hang=size)


def write_table(table: TextTable, file: TextIO) -> None:
    """Write a table the way that suits `file`."""
    cells = [[spelled(printable(cell), file) for cell in row] for row in table.rows]
    columns = tuple(Column(spelled(column.title, file), column.is_number, column.drop) for column in table.columns)
    lines = table_lines(TextTable(columns, cells, table.key), width=columns_of(file))
    file.write(styled(next(lines), "bold", file) + "\n")
    file.writelines(f"{line}\n" for line in lines)
    file.flush()

"""Tables: as aligned plain text for pipes and files, drawn by rich for a terminal, as HTML for notebooks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.markup import table
from multiprobe.names import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TextIO

    from rich.console import Console
    from rich.table import Table as RichTable

#: Above this many rows a terminal gets plain text as well: rich measures every cell, several times.
MANY_ROWS = 2000


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its title, and whether its cells are numbers, which are aligned to the right.

    Where a screen is too narrow, columns are left out by `drop`, the highest first; those with 0 always stay.
    """

    title: str
    is_number: bool = False
    drop: int = 0


@dataclass(frozen=True, slots=True)
class TextTable:
    """Columns and rows of text."""

    columns: tuple[Column, ...]
    rows: Sequence[Sequence[str]]

    def _repr_html_(self) -> str:
        """For notebooks."""
        numbers = {index for index, column in enumerate(self.columns) if column.is_number}
        return table([column.title for column in self.columns], self.rows, numbers=numbers)


def table_lines(table: TextTable) -> Iterator[str]:
    """The table as aligned lines, titles first; the last column isn't padded."""
    titles = [column.title for column in table.columns]
    rows = [titles, *([printable(cell) for cell in row] for row in table.rows)]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if column.is_number else cell.ljust(width)
            for cell, width, column in zip(row, widths, table.columns, strict=True)
        ]
        yield "  ".join(cells).rstrip()


def rich_table(table: TextTable) -> RichTable:
    """The table for rich."""
    from rich.table import Table as RichTable
    from rich.text import Text

    made = RichTable(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in table.columns:
        made.add_column(
            column.title, justify="right" if column.is_number else "left", no_wrap=True, overflow="ellipsis"
        )
    for row in table.rows:
        made.add_row(*(Text(printable(cell)) for cell in row))
    return made


def rich_console(file: TextIO) -> Console:
    """rich's console on a terminal."""
    from rich.console import Console

    return Console(file=file)


def write_table(table: TextTable, file: TextIO) -> None:
    """Write a table the way that suits `file`."""
    if file.isatty() and len(table.rows) <= MANY_ROWS:
        rich_console(file).print(rich_table(table))
    else:
        for line in table_lines(table):
            file.write(line + "\n")
    file.flush()

"""A line of progress on a terminal, drawn by rich: what is done, how much of it, for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Column

if TYPE_CHECKING:
    from typing import TextIO

_REFRESHES = 4  # per second: more would take time from the work
_AMOUNT, _ELAPSED, _BAR = 16, 8, 5
"""The widths that an amount needs, such as `12,345 of 67,890`, the time, and a bar. What doesn't fit is left out."""


def make_bar(file: TextIO, what: str) -> Bar:
    """The line, not yet shown; it is wiped when it is stopped. Its field `amount` is text."""
    console = Console(file=file)
    spare = console.width - len(what) - _AMOUNT - _ELAPSED
    columns = (
        TextColumn("{task.description}", markup=False, table_column=Column(overflow="fold")),
        *([BarColumn(bar_width=min(spare, 20))] if spare >= _BAR else []),
        TextColumn("{task.fields[amount]}", table_column=Column(no_wrap=True)),
        *([TimeElapsedColumn()] if spare >= 0 else []),
    )
    bar = Bar(
        *columns,
        console=console,
        refresh_per_second=_REFRESHES,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    bar.add_task(what, total=None, amount="")
    return bar

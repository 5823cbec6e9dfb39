"""A line of progress on a terminal, drawn by rich: what is done, how much of it, for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

if TYPE_CHECKING:
    from typing import TextIO

_REFRESHES = 4  # per second: more would take time from the work


def make_bar(file: TextIO, what: str) -> Bar:
    """The line, not yet shown; it is wiped when it is stopped. Its field `amount` is text."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[amount]}"),
        TimeElapsedColumn(),
    )
    console = Console(file=file)
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

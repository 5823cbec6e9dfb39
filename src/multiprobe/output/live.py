"""Redraws a table in place while something runs, and wipes it at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from multiprobe.output.table import table_lines

if TYPE_CHECKING:
    from types import TracebackType
    from typing import TextIO

    from multiprobe.output.table import TextTable

_ROOM = 5  # lines left for title, heading and prompt


class LiveTable:
    """Draws on `file`, a terminal; `rows` is how many rows of a table fit."""

    def __init__(self, file: TextIO) -> None:
        self._console = Console(file=file)
        self._live = Live(console=self._console, transient=True, auto_refresh=False)

    @property
    def rows(self) -> int:
        """How many rows fit now (the window may change)."""
        return max(3, self._console.size.height - _ROOM)

    def show(self, title: str, table: TextTable) -> None:
        """Draw anew."""
        heading, *rows = table_lines(table, width=self._console.width)
        text = Text.assemble((title, "dim"), "\n", (heading, "bold"), *(f"\n{row}" for row in rows))
        text.no_wrap, text.overflow = True, "crop"
        self._live.update(text, refresh=True)

    def __enter__(self) -> LiveTable:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

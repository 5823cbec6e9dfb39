"""The table of `--live`, a textual widget: a heading, rows, and a cursor that stays on its row.

Draws only the lines in sight. (textual's DataTable measures every cell of every row: 4,000 rows take seconds.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from textual.binding import Binding
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from multiprobe.output.frame import fit_rows, line
from multiprobe.output.table import GAP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.binding import BindingType
    from textual.events import Click

    from multiprobe.output.frame import LiveRow
    from multiprobe.output.table import Column


class RowTable(ScrollView, can_focus=True):
    """Rows under a heading. Posts `Opened` for a row, and `Sorted` for a column whose title is clicked."""

    DEFAULT_CSS = """
    RowTable { height: 1fr; overflow-x: hidden; }
    RowTable > .row-table--heading { text-style: bold reverse; }
    RowTable > .row-table--selected { text-style: reverse; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"row-table--heading", "row-table--selected"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home,g", "move(-1000000000)", "First", show=False),
        Binding("end,G", "move(1000000000)", "Last", show=False),
        Binding("enter", "open", "Details"),
    ]

    @dataclass
    class Opened(Message):
        """The user wants the details of the selected row."""

    @dataclass
    class Sorted(Message):
        """The user wants rows sorted by this column."""

        column: int

    def __init__(self) -> None:
        super().__init__()
        self._columns: tuple[Column, ...] = ()
        self._rows: Sequence[LiveRow] = ()
        self._sort = 0
        self._mark = ""
        self._at = 0
        self._key: int | None = None  # of the row that was chosen; before, the cursor stays on the first
        self._fits: tuple[int, list[tuple[int, int]]] | None = None

    @property
    def selected(self) -> LiveRow | None:
        """The row under the cursor."""
        return self._rows[self._at] if self._rows else None

    def show(self, columns: tuple[Column, ...], rows: Sequence[LiveRow], *, sort: int, is_reversed: bool) -> None:
        """Show other rows. The cursor stays on its row, and in sight if it was; without that row it goes to the
        first."""
        was_in_sight = self._is_in_sight()
        self._columns, self._rows, self._sort = columns, rows, sort
        self._mark = "▲" if columns[sort].is_number == is_reversed else "▼"
        self._at = next((at for at, row in enumerate(rows) if row.key == self._key), 0)
        self.virtual_size = Size(0, len(rows) + 1)
        self._fits = None
        if was_in_sight:
            self._look()
        self.refresh()

    def action_move(self, by: int) -> None:
        """Move the cursor by so many rows."""
        self._choose(min(max(self._at + by, 0), len(self._rows) - 1))
        self._look()

    def _choose(self, at: int) -> None:
        if self._rows:
            self._at, self._key = at, self._rows[at].key
            self.refresh()

    def action_page(self, by: int) -> None:
        """Move the cursor by so many screens."""
        self.action_move(by * max(1, self.size.height - 1))

    def action_open(self) -> None:
        """Ask for the details of the selected row."""
        if self._rows:
            self._choose(self._at)
            self.post_message(self.Opened())

    def on_click(self, event: Click) -> None:
        """Sort by the column, or select the row; twice: open it."""
        if event.y == 0:
            self._sort_at(event.x)
        elif (at := event.y - 1 + self.scroll_offset.y) < len(self._rows):
            self._choose(at)
            if event.chain == 2:
                self.action_open()

    def _sort_at(self, x: int) -> None:
        end = 0
        for index, width in self._fitting():
            end += width + GAP
            if x < end:
                self.post_message(self.Sorted(index))
                return

    def _is_in_sight(self) -> bool:
        return 0 <= self._at - self.scroll_offset.y < max(1, self.size.height - 1)

    def _look(self) -> None:
        """Scroll so far that the cursor is in sight."""
        top, n = self.scroll_offset.y, max(1, self.size.height - 1)
        if not self._is_in_sight():
            self.scroll_to(y=self._at if self._at < top else self._at - n + 1, animate=False, force=True)

    def _titles(self) -> list[str]:
        return [column.title + self._mark * (index == self._sort) for index, column in enumerate(self._columns)]

    def _fitting(self) -> list[tuple[int, int]]:
        """The columns that fit, as (index, width)."""
        width = self.scrollable_content_region.width
        if self._fits is None or self._fits[0] != width:
            rows = [self._titles(), *(row.cells for row in self._rows)]
            self._fits = width, fit_rows(self._columns, rows, width=width, keep=self._sort)
        return self._fits[1]

    def on_resize(self) -> None:
        """Keep the cursor in sight."""
        self._look()

    def render_line(self, y: int) -> Strip:
        """A line of the screen."""
        width, at = self.scrollable_content_region.width, self.scroll_offset.y + y - 1
        if not self._columns:
            return Strip.blank(width, self.rich_style)
        if y == 0:
            text, name = line(self._titles(), self._columns, self._fitting()), "heading"
        elif at < len(self._rows):
            text, name = (
                line(self._rows[at].cells, self._columns, self._fitting()),
                "selected" if at == self._at else "",
            )
        else:
            return Strip.blank(width, self.rich_style)
        style = self.get_component_rich_style(f"row-table--{name}") if name else self.rich_style
        return Strip([Segment(text, style)]).adjust_cell_length(width, style)

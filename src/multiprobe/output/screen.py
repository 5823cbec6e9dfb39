"""The full-screen view of `--live`, a textual application: a table that is sorted, filtered and paused, and details.

Frames are made in one thread, and the callers of a function are watched in another, so that neither ever holds up the
screen. textual draws on stderr and sets the terminal back when it ends.
"""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread
from typing import TYPE_CHECKING, ClassVar, Protocol, cast

from rich.text import Text
from textual.app import App
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Footer, Input, Static

from multiprobe.errors import MultiprobeError
from multiprobe.names import printable
from multiprobe.output.chart import chart_lines
from multiprobe.output.frame import arrange
from multiprobe.output.row_table import RowTable
from multiprobe.output.screen_file import ScreenFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from io import TextIOWrapper

    from textual.app import ComposeResult
    from textual.binding import BindingType

    from multiprobe.output.chart import Recent
    from multiprobe.output.frame import LiveFrame, LiveRow

_CALLERS_EVERY = 1.0
_MOST_CALLERS = 12
_LOWEST, _HIGHEST, _PART = 3, 8, 6
"""Lines of a chart, and the part of the screen that it may take: callers below it should be in sight."""
_UNKNOWN = "callers can't be shown: it is not known which function it was"


class CallerCounts(Protocol):
    """An attachment that counts the callers of one function."""

    def counts(self) -> Sequence[tuple[str, int]]:
        """Callers by name, and how often each called, most calls first."""

    def close(self) -> None:
        """Detach."""


class _Framed(Message):
    """There is a newer frame."""


@dataclass
class _Counted(Message):
    """The lines about callers changed."""

    watch: CallerWatch


class _Ended(Message):
    """There are no more frames."""


class CallerWatch(Thread):
    """Attaches to a function to count its callers, until `end`; then it detaches. `lines` says what is known."""

    def __init__(self, attach: Callable[[], CallerCounts], on_change: Callable[[CallerWatch], object]) -> None:
        super().__init__(name="callers")
        self._attach = attach
        self._on_change = on_change
        self._end = Event()
        self.lines: list[str] = ["attaching, to count callers …"]
        self.start()

    def end(self) -> None:
        """Have the thread detach and end; returns at once."""
        self._end.set()

    def run(self) -> None:
        try:
            self._watch()
        except MultiprobeError as error:
            self._say([f"callers can't be shown: {error}"])

    def _watch(self) -> None:
        callers = self._attach()
        try:
            while not self._end.is_set():
                self._say(_caller_lines(callers.counts()))
                self._end.wait(_CALLERS_EVERY)
        finally:
            callers.close()

    def _say(self, lines: list[str]) -> None:
        if lines != self.lines:
            self.lines = lines
            self._on_change(self)


def _caller_lines(counts: Sequence[tuple[str, int]]) -> list[str]:
    total = sum(n for _, n in counts) or 1
    lines = [f"{n:>12,}  {n / total:>6.1%}  {name}" for name, n in counts[:_MOST_CALLERS]]
    return ["called from, since you look:", *lines] if counts else ["not called since you look"]


class Chart(Widget):
    """The recent past of the row whose details are shown, as wide as the screen."""

    DEFAULT_CSS = "Chart { height: auto; }"

    def __init__(self) -> None:
        super().__init__()
        self._recent: Recent | None = None

    def show(self, recent: Recent | None) -> None:
        """Show another past, or nothing."""
        self._recent = recent
        self.display = recent is not None
        self.refresh(layout=True)

    def render(self) -> Text:
        """Draw it anew, also when the size of the screen has changed."""
        height = min(_HIGHEST, max(_LOWEST, self.app.size.height // _PART))
        lines = chart_lines(self._recent, width=self.size.width, height=height) if self._recent else []
        return Text("\n".join(lines), no_wrap=True)


class _Driver(LinuxDriver):
    """textual's, on a terminal that may be gone, or that nobody reads."""

    def __init__(
        self, app: LiveScreen, *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        assert self._file is not None
        self._screen_file = ScreenFile(self._file, app.is_over.is_set, app.on_gone)
        self._file = cast("TextIOWrapper", self._screen_file)

    def close(self) -> None:
        """Wait for the last text, and close what was opened."""
        super().close()
        self._screen_file.close()


class LiveScreen(App[None]):
    """The screen. `frames` is iterated in a thread of its own and may block; the application ends with it."""

    CSS = """
    #title { text-style: bold; height: 1; }
    Input { border: none; height: 1; padding: 0; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "End"),
        Binding("ctrl+c", "quit", "End", show=False, priority=True),
        Binding("slash", "filter", "Filter", key_display="/", priority=True),  # before what is typed next goes anywhere
        Binding("space", "pause", "Pause"),
        Binding("left,less_than_sign", "sort(-1)", "Sort", key_display="←→"),
        Binding("right,greater_than_sign", "sort(1)", "Sort by the next column", show=False),
        Binding("r", "reverse", "Reverse"),
        Binding("escape", "leave", "Back", show=False),
        Binding("n", "next(1)", "Details of the next", show=False),
        Binding("p", "next(-1)", "Details of the one before", show=False),
        Binding("question_mark", "help", "Help", key_display="?"),
    ]

    def __init__(
        self,
        frames: Iterable[LiveFrame],
        attach: Callable[[int], CallerCounts],
        *,
        on_gone: Callable[[], object] = lambda: None,
        sort: int = 0,
    ) -> None:
        """attach: begins to count the callers of a function, by its index; on_gone: called if the terminal is gone;
        sort: the column to sort by at first"""
        super().__init__(driver_class=_Driver)
        self.is_over = Event()
        self.on_gone = on_gone
        self._frames = frames
        self._count_callers = attach
        self._sort = sort
        self._is_reversed = False
        self._latest: LiveFrame | None = None
        self._frozen: LiveFrame | None = None
        self._opened: LiveRow | None = None
        self._watch: CallerWatch | None = None
        self._threads: list[Thread] = []
        self.trouble: BaseException | None = None

    def compose(self) -> ComposeResult:
        """The widgets, from top to bottom."""
        yield Static("", id="title", markup=False)
        yield RowTable()
        with VerticalScroll():
            yield Static("", id="text", markup=False)
            yield Chart()
            yield Static("", id="callers", markup=False)
        yield Input(placeholder="a part of the name, or a glob")
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        """Begin to make frames."""
        self._focus(RowTable)
        self._threads.append(Thread(target=self._make_frames, name="frames"))
        self._threads[0].start()

    def _make_frames(self) -> None:
        try:
            for frame in self._frames:
                self._latest = frame
                if not self.post_message(_Framed()):
                    return
        except BaseException as error:
            self.trouble = error
        self.is_over.set()
        self.post_message(_Ended())

    def join(self) -> None:
        """Wait until no thread runs and nothing that was attached for details is attached any more."""
        self._close_details()
        for thread in self._threads:
            if thread.ident is not None:  # it was started
                thread.join()

    def on__framed(self) -> None:
        """Show the newest frame."""
        self._show()

    def on__ended(self) -> None:
        """End with the frames."""
        self.exit()

    def on__counted(self, message: _Counted) -> None:
        """Show what is known of callers."""
        if message.watch is self._watch:
            self._show_details()

    def _show(self) -> None:
        frame = self._frozen or self._latest
        if frame is None:
            return
        text = self.query_one(Input).value
        rows = arrange(frame, text=text, sort=self._sort, is_reversed=self._is_reversed)
        filtered = f", {len(rows):,} match {text!r}" if text else ""
        self.query_one("#title", Static).update(f"{frame.title}{filtered}{' — PAUSED' if self._frozen else ''}")
        self.query_one(RowTable).show(frame.columns, rows, sort=self._sort, is_reversed=self._is_reversed)
        self._show_details()

    def _show_details(self) -> None:
        frame, row = self._frozen or self._latest, self._opened
        if frame is not None and row is not None:
            self._write("#text", [*frame.details(row.key), ""])
            self.query_one(Chart).show(frame.recent(row.key) if frame.recent else None)
            self._write("#callers", ["", *(self._watch.lines if self._watch else [_UNKNOWN])])

    def _write(self, place: str, lines: Sequence[str]) -> None:
        self.query_one(place, Static).update("\n".join(map(printable, lines)))

    def action_sort(self, by: int) -> None:
        """Sort by another column."""
        if self._latest is not None:
            self._sort, self._is_reversed = (self._sort + by) % len(self._latest.columns), False
            self._show()

    def on_row_table_sorted(self, message: RowTable.Sorted) -> None:
        """Sort by the column whose title was clicked; again: turn the order round."""
        self._is_reversed = message.column == self._sort and not self._is_reversed
        self._sort = message.column
        self._show()

    def action_reverse(self) -> None:
        """Turn the order round."""
        self._is_reversed = not self._is_reversed
        self._show()

    def action_pause(self) -> None:
        """Stop showing newer frames, or go on."""
        self._frozen = None if self._frozen else self._latest
        self._show()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool:
        """While a filter is typed, / is a part of it."""
        return action != "filter" or not self.query(Input).first().has_focus

    def action_filter(self) -> None:
        """Type a filter."""
        self._close_details()
        self._focus(Input)

    def on_input_changed(self) -> None:
        """Filter while it is typed."""
        self._show()

    def on_input_submitted(self) -> None:
        """Keep the filter."""
        self._leave_filter()

    def _leave_filter(self) -> None:
        self._focus(RowTable)

    def _focus(self, kind: type[Input | RowTable | VerticalScroll]) -> None:
        """Show the widget that keys go to now, and send the next key to it."""
        self.query_one(RowTable).display = kind is not VerticalScroll
        self.query_one(VerticalScroll).display = kind is VerticalScroll
        self.query_one(Input).display = kind is Input
        self.screen.set_focus(self.query_one(kind))

    def action_leave(self) -> None:
        """Close help or details; else forget the filter."""
        if self.screen.query("HelpPanel"):
            self.action_hide_help_panel()
        elif self._opened is not None:
            self._close_details()
        else:
            self.query_one(Input).clear()
            self._leave_filter()

    def action_help(self) -> None:
        """Show all keys, or hide them."""
        if self.screen.query("HelpPanel"):
            self.action_hide_help_panel()
        else:
            self.action_show_help_panel()

    def action_next(self, by: int) -> None:
        """Show the details of another row."""
        if self._opened is not None:
            self.query_one(RowTable).action_move(by)
            self.on_row_table_opened()

    def on_row_table_opened(self) -> None:
        """Show the selected row's details, and count its callers from now on."""
        self._close_details()
        self._opened = row = self.query_one(RowTable).selected
        if row is None:
            return
        if (index := row.function) is not None:
            self._watch = CallerWatch(
                lambda: self._count_callers(index), lambda watch: self.post_message(_Counted(watch))
            )
            self._threads.append(self._watch)
        self._focus(VerticalScroll)
        self._show_details()

    def _close_details(self) -> None:
        """Close them; the thread that counts callers detaches by itself."""
        if self._watch is not None:
            self._watch.end()
        self._opened = self._watch = None
        if self.is_running:
            self._focus(RowTable)


def show_screen(
    frames: Iterable[LiveFrame],
    attach: Callable[[int], CallerCounts],
    *,
    on_end: Callable[[], object],
    sort: int = 0,
) -> None:
    """Show frames until there are no more or the user ends it; `on_end` then has `frames` end soon.

    When this returns, nothing is attached for details any more. Raises what `frames` raised, and MultiprobeError if the
    screen failed.
    """
    screen = LiveScreen(frames, attach, on_gone=on_end, sort=sort)
    try:
        with _signals_kept(), _size_of_stderr():
            screen.run()
    except (RuntimeError, MemoryError) as error:
        raise MultiprobeError(
            f"the full-screen view failed: {error or 'out of memory'}", hint="leave out --live"
        ) from error
    finally:
        on_end()
        screen.join()
    if screen.trouble is not None:
        raise screen.trouble


@contextmanager
def _signals_kept() -> Iterator[None]:
    """textual replaces the handlers of these, and leaves its own behind."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _size_of_stderr() -> Iterator[None]:
    """textual draws on stderr, but asks stdout for its size, which may be a file."""
    before, sys.__stdout__ = sys.__stdout__, sys.__stderr__  # type: ignore[misc]
    try:
        yield
    finally:
        sys.__stdout__ = before  # type: ignore[misc]

"""The full screen of a terminal, with a keyboard: draws a view, reads keys. Knows the terminal, not what is shown.

The terminal is set back however the block is left. Works over ssh: nothing but ANSI sequences goes out, and keys are
read from standard input.
"""

from __future__ import annotations

import os
import select
import termios
import tty
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from multiprobe.output.keys import decode_keys
from multiprobe.output.view import Frame, View, draw, press, scroll

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Any, TextIO

_ESCAPE_MS = 50  # how long the rest of a sequence may take after its Escape
_STYLES = {"": "", "title": "bold", "heading": "bold reverse", "selected": "reverse", "note": "dim"}


class FullScreen:
    """A view on the whole screen. `details(key)` gives the lines of a row's details; `show` draws a frame and takes in
    the keys that were pressed; `is_ended` tells that the user has had enough."""

    def __init__(
        self,
        *,
        keyboard: int,
        screen: TextIO,
        details: Callable[[int], Sequence[str]],
        on_details: Callable[[int | None], None] | None = None,
        view: View | None = None,
    ) -> None:
        """`keyboard` is the descriptor of a terminal; `on_details` is told whose details are open from now on;
        `view` is what is shown first."""
        self._keyboard = keyboard
        self._console = Console(file=screen, highlight=False)
        self._live = Live(console=self._console, screen=True, auto_refresh=False)
        self._details = details
        self._on_details = on_details
        self._pending = b""
        self._before: list[Any] = []
        self.view = View() if view is None else view

    @property
    def is_ended(self) -> bool:
        """Whether the user asked for the end."""
        return self.view.is_ended

    def show(self, frame: Frame) -> None:
        """Take in what was typed, and draw."""
        width, height = self._console.size
        was_open = self.view.details
        for key in self._keys():
            self.view = press(self.view, key, frame, height=height)
        if self._on_details is not None and self.view.details != was_open:
            self._on_details(self.view.details)
        self.view = scroll(self.view, frame, height=height)
        details = () if self.view.details is None else self._details(self.view.details)
        lines = draw(self.view, frame, details, width=width, height=height)
        self._live.update(Group(*(Text(line.text, _STYLES[line.style], no_wrap=True) for line in lines)), refresh=True)

    def _keys(self) -> list[str]:
        """What has been typed since the last time."""
        data = self._pending + self._typed(0)
        while data.endswith(b"\x1b") and (more := self._typed(_ESCAPE_MS)):  # a slow line may cut a sequence in two
            data += more
        keys, self._pending = decode_keys(data)
        return keys

    def _typed(self, milliseconds: int) -> bytes:
        poll = select.poll()
        poll.register(self._keyboard, select.POLLIN)
        return os.read(self._keyboard, 4096) if poll.poll(milliseconds) else b""

    def __enter__(self) -> FullScreen:
        self._before = termios.tcgetattr(self._keyboard)
        tty.setcbreak(self._keyboard)
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._live.__exit__(kind, error, trace)
        finally:
            termios.tcsetattr(self._keyboard, termios.TCSADRAIN, self._before)

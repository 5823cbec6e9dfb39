"""The full-screen view, driven by textual's pilot: keys, mouse, size, and threads that never hold it up."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from queue import Queue
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from multiprobe.errors import MultiprobeError, VmError
from multiprobe.output.chart import Recent
from multiprobe.output.frame import LiveFrame, LiveRow
from multiprobe.output.row_table import RowTable
from multiprobe.output.screen import LiveScreen
from multiprobe.output.table import Column

COLUMNS = (Column("CALLS", True, 1), Column("RATE/S", True, 2), Column("1 ns … 8 ms", drop=9), Column("FUNCTION"))


def frame_of(*rows: tuple[int, float, str], title: str = "title") -> LiveFrame:
    made = [
        LiveRow(k, (f"{c:,}", f"{r}", "▁▂▃▄▅▆▇█" * 3, n), (c, r, c, n), n, None if n == "?" else k)
        for k, (c, r, n) in enumerate(rows)
    ]
    return LiveFrame(title, COLUMNS, made, lambda key: [rows[key][2], f"{title}: {rows[key][0]} calls"])


FRAME = frame_of((10, 1.5, "vfs_read"), (300, 0.5, "tcp_sendmsg"), (20, 9.0, "vfs_write"), (20, 0.1, "vfs_open"))
MANY = frame_of(*((n, float(-n), f"function_{n:04}") for n in range(3000)))


class Source:
    """Frames that a test puts in, one after the other."""

    def __init__(self, *frames: LiveFrame) -> None:
        self.queue: Queue[LiveFrame | BaseException | None] = Queue()
        for frame in frames:
            self.queue.put(frame)

    def __iter__(self) -> Iterator[LiveFrame]:
        while (item := self.queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def end(self) -> None:
        self.queue.put(None)


class Counting:
    """Counts callers; attaching takes until `go` is set, and detaching until `may_close` is."""

    attached: list[Counting]

    def __init__(self, index: int, go: threading.Event) -> None:
        assert go.wait(20)
        self.index = index
        self.is_closed = False

    def counts(self) -> list[tuple[str, int]]:
        return [("ksys_read", 3), ("\x1b[2Jkernel_read", 1)]

    def close(self) -> None:
        self.is_closed = True


class Driven:
    """A screen under a pilot, and what it shows."""

    def __init__(self, app: LiveScreen, pilot: Pilot[None], source: Source, made: list[Counting]) -> None:
        self.app, self.pilot, self.source, self.made = app, pilot, source, made

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def show(self, frame: LiveFrame) -> None:
        self.source.queue.put(frame)
        await self.until(lambda: self.app._latest is frame)

    async def until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end, self.lines()
            await self.pilot.pause(0.01)
        await self.pilot.pause()

    def lines(self) -> list[str]:
        """The lines of the screen as they are drawn."""
        strips = self.app.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip).rstrip() for strip in strips]

    def names(self) -> list[str]:
        table = self.app.query_one(RowTable)
        return [row.cells[-1] for row in table._rows]

    @property
    def selected(self) -> str:
        row = self.app.query_one(RowTable).selected
        return row.cells[-1] if row else ""


GO = threading.Event()
GO.set()


def drive(
    test: Callable[[Driven], Coroutine[Any, Any, None]],
    *frames: LiveFrame,
    size: tuple[int, int] = (80, 24),
    go: threading.Event = GO,
    fail: MultiprobeError | None = None,
) -> Driven:
    """Run `test` on a screen of this size, then end it as `show_screen` does."""
    source, made = Source(*(frames or (FRAME,))), []

    def attach(index: int) -> Counting:
        if fail is not None:
            raise fail
        made.append(Counting(index, go))
        return made[-1]

    app = LiveScreen(source, attach)

    async def run() -> Driven:
        async with app.run_test(size=size) as pilot:
            driven = Driven(app, pilot, source, made)
            await driven.until(driven.names)
            await test(driven)
        return driven

    try:
        return asyncio.run(run())
    finally:
        source.end()
        app.join()


def test_columns_are_sorted_by_keys() -> None:
    async def test(on: Driven) -> None:
        assert on.names() == ["tcp_sendmsg", "vfs_open", "vfs_write", "vfs_read"]
        await on.press("right")
        assert on.names() == ["vfs_write", "vfs_read", "tcp_sendmsg", "vfs_open"]
        assert "RATE/S▼" in on.lines()[1]
        await on.press("r")
        assert on.names()[0] == "vfs_open"
        await on.press("left", "left")
        assert on.names() == sorted(on.names()), "the last column: names from A"
        assert "FUNCTION▲" in on.lines()[1]

    drive(test)


def test_columns_are_sorted_by_clicks() -> None:
    async def test(on: Driven) -> None:
        at = on.lines()[1].index("RATE/S")
        await on.pilot.click(RowTable, offset=(at + 2, 0))
        assert on.names()[0] == "vfs_write"
        await on.pilot.click(RowTable, offset=(at + 2, 0))
        assert on.names()[0] == "vfs_open"

    drive(test)


def test_rows_are_chosen_and_opened_by_the_mouse() -> None:
    async def test(on: Driven) -> None:
        await on.pilot.click(RowTable, offset=(3, 3))
        assert on.selected == "vfs_write"
        await on.pilot.click(RowTable, offset=(3, 4), times=2)
        await on.until(lambda: "vfs_read" in on.lines()[1])
        await on.until(lambda: any("ksys_read" in line for line in on.lines()))

    drive(test)


def test_a_filter_acts_while_it_is_typed() -> None:
    async def test(on: Driven) -> None:
        await on.press("slash", *"vfs_")
        assert set(on.names()) == {"vfs_read", "vfs_write", "vfs_open"}
        await on.press("backspace", *"?r*")
        assert on.names() == ["vfs_read"]
        await on.press("ctrl+u", *"/", "backspace", *"*_?e*")
        assert set(on.names()) == {"vfs_read", "tcp_sendmsg"}, "? and * are typed, not acted on"
        await on.press("enter")
        assert "2 match '*_?e*'" in on.lines()[0]
        assert "q" in on.lines()[-1]
        await on.press("escape")
        assert len(on.names()) == 4

    drive(test)


def test_the_cursor_follows_its_row_and_not_its_position() -> None:
    async def test(on: Driven) -> None:
        await on.press("down")
        assert on.selected == "vfs_open"
        rows = ((10, 1.5, "vfs_read"), (300, 0.5, "tcp_sendmsg"), (20, 9.0, "vfs_write"), (999, 0.1, "vfs_open"))
        await on.show(frame_of(*rows))
        assert on.names()[0] == on.selected == "vfs_open"
        await on.press("down")
        assert on.selected == "tcp_sendmsg"
        await on.press("end")
        assert on.selected == "vfs_read"
        await on.press("up", "home", "up")
        assert on.selected == "vfs_open"

    drive(test)


def test_a_new_frame_leaves_cursor_and_scrolling_alone() -> None:
    async def test(on: Driven) -> None:
        table = on.app.query_one(RowTable)
        await on.press("pagedown", "pagedown", "down")
        was, top = on.selected, table.scroll_offset.y
        assert top > 0
        for _ in range(3):
            await on.show(frame_of(*((n, float(-n), f"function_{n:04}") for n in range(3000))))
            assert (on.selected, table.scroll_offset.y) == (was, top)
        table.scroll_to(y=2000, animate=False, force=True)
        await on.pilot.pause()
        await on.show(MANY)
        assert table.scroll_offset.y == 2000, "scrolled away from the cursor: it isn't brought back"
        assert on.selected == was

    drive(test, MANY)


def test_pausing_shows_what_was() -> None:
    async def test(on: Driven) -> None:
        await on.press("space")
        await on.show(frame_of((1, 1.0, "later")))
        assert "PAUSED" in on.lines()[0]
        assert "tcp_sendmsg" in on.names()
        await on.press("enter")
        await on.until(lambda: "tcp_sendmsg" in on.lines()[1])
        await on.press("escape", "space")
        assert on.names() == ["later"]
        assert "PAUSED" not in on.lines()[0]

    drive(test)


def test_details_with_callers_are_detached_when_they_close() -> None:
    async def test(on: Driven) -> None:
        await on.press("down", "enter")
        await on.until(lambda: any("ksys_read" in line for line in on.lines()))
        lines = on.lines()
        assert [line.strip() for line in lines[1:3]] == ["vfs_open", "title: 20 calls"]
        assert any("75.0%  ksys_read" in line for line in lines)
        assert any(r"\x1b[2Jkernel_read" in line for line in lines), "what a terminal would act on isn't passed on"
        assert not any("FUNCTION" in line for line in lines)
        await on.show(frame_of((10, 1.5, "vfs_read"), (3, 0, "a"), (4, 0, "b"), (21, 1, "vfs_open"), title="later"))
        assert any("later: 21 calls" in line for line in on.lines()), "they go on"
        await on.press("p")
        await on.until(lambda: len(on.made) == 2)
        assert on.made[1].index == 3, "vfs_open is the first now, and there is none before"
        await on.press("escape")
        await on.until(lambda: all(one.is_closed for one in on.made))
        assert any("FUNCTION" in line for line in on.lines())

    drive(test)


def test_details_have_a_chart_of_the_recent_past_as_wide_as_the_screen() -> None:
    async def test(on: Driven) -> None:
        await on.press("enter")
        await on.until(lambda: any("300 s ago" in line for line in on.lines()))
        lines = on.lines()
        title = next(n for n, line in enumerate(lines) if "calls of 1 a second" in line)
        assert lines[title + 1].startswith("299 │")
        assert lines[title + 1].endswith("█"), "the newest is the highest"
        assert len(lines[title + 1]) in (78, 79, 80)
        assert lines[title + 4].startswith("  0 │")
        await on.pilot.resize_terminal(40, 36)
        await on.until(lambda: not any(len(line) > 40 for line in on.lines()))
        await on.until(lambda: sum("│" in line for line in on.lines()) == 6)
        assert any("300 s ago" in line and line.endswith("now") for line in on.lines())
        await on.press("escape")
        assert not any("s ago" in line for line in on.lines())

    def past(key: int) -> Recent:
        return Recent(f"calls of {key} a second", [float(n) for n in range(300)], 300.0)

    drive(test, replace(FRAME, recent=past))


def test_attaching_slowly_does_not_hold_up_the_screen() -> None:
    go = threading.Event()

    async def test(on: Driven) -> None:
        await on.press("enter")
        await on.until(lambda: any("attaching, to count callers" in line for line in on.lines()))
        before = time.monotonic()
        await on.press("escape", "down", "down", "right", "space")
        await on.show(MANY)
        assert time.monotonic() - before < 15, "keys and frames wait for nothing"
        assert "PAUSED" in on.lines()[0]
        assert not on.made, "it is still attaching"
        threading.Timer(0.2, go.set).start()

    ended = drive(test, go=go)
    assert [one.is_closed for one in ended.made] == [True], (
        "attached after its details had closed: detached all the same"
    )


def test_callers_are_detached_when_the_screen_ends() -> None:
    async def test(on: Driven) -> None:
        await on.press("enter")
        await on.until(lambda: any("ksys_read" in line for line in on.lines()))
        await on.press("q")

    assert [one.is_closed for one in drive(test).made] == [True]


def test_what_stands_in_the_way_of_callers_is_said() -> None:
    async def test(on: Driven) -> None:
        await on.press("enter")
        await on.until(lambda: any("callers can't be shown: no link" in line for line in on.lines()))

    drive(test, fail=VmError("no link"))

    async def unknown(on: Driven) -> None:
        await on.press("enter")
        assert any("it is not known which function it was" in line for line in on.lines())

    assert not drive(unknown, frame_of((1, 1.0, "?"))).made


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
def test_the_user_ends_it(key: str) -> None:
    async def test(on: Driven) -> None:
        await on.press("slash", key) if key == "ctrl+c" else await on.press(key)
        await on.until(lambda: not on.app.is_running)

    drive(test)


def test_it_ends_with_the_frames() -> None:
    async def test(on: Driven) -> None:
        on.source.end()
        await on.until(lambda: not on.app.is_running)

    assert drive(test).app.trouble is None


def test_a_failure_to_make_frames_ends_it_and_is_kept() -> None:
    async def test(on: Driven) -> None:
        on.source.queue.put(VmError("no sample"))
        await on.until(lambda: not on.app.is_running)

    assert isinstance(drive(test).app.trouble, VmError)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10)])
def test_names_are_always_in_sight(width: int, height: int) -> None:
    async def test(on: Driven) -> None:
        assert "1 ns … 8 ms" in on.lines()[1]
        await on.pilot.resize_terminal(width, height)
        await on.until(lambda: len(on.lines()) == height)
        lines = on.lines()
        assert all(len(line) <= width for line in lines)
        assert "▁▂▃" in lines[2] or width < 80
        assert "CALLS▼" in lines[1]
        assert "FUNCTION" in lines[1]
        rows = lines[2 : height - 1]
        assert len(rows) == height - 3
        assert all("function_" in row and len(row.split("function_")[1]) >= 4 for row in rows)
        await on.press("end")
        assert any("function_0000" in line for line in on.lines())
        assert "End" in on.lines()[-1]

    drive(test, MANY, size=(120, 30))


def test_help_lists_the_keys() -> None:
    async def test(on: Driven) -> None:
        await on.press("question_mark")
        await on.until(lambda: any("Page down" in line for line in on.lines()))
        await on.press("escape")
        await on.until(lambda: not any("Page down" in line for line in on.lines()))

    drive(test, size=(120, 40))


def test_an_empty_frame() -> None:
    async def test(on: Driven) -> None:
        await on.show(frame_of())
        await on.press("j", "k", "g", "G", "r", "space", "enter", "left", "pagedown", "n", "escape")
        assert on.app.query_one("#title", Static)
        assert not on.names()

    drive(test)

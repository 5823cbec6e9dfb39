"""What `--live` shows of a frame: which rows, in which order, and which columns where there is little room."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multiprobe.cells import cell_width
from multiprobe.names import printable
from multiprobe.output.frame import LiveFrame, LiveRow, arrange, fit_rows, line
from multiprobe.output.table import GAP, Column

COLUMNS = (Column("CALLS", True, 1), Column("RATE/S", True, 2), Column("1 ns … 8 ms", drop=9), Column("FUNCTION"))


def frame_of(*rows: tuple[int, float, str]) -> LiveFrame:
    made = [LiveRow(k, (str(c), f"{r}", "▁▂█", n), (c, r, 0, n), n, k) for k, (c, r, n) in enumerate(rows)]
    return LiveFrame("title", COLUMNS, made, lambda key: [f"details of {key}"])


FRAME = frame_of((10, 1.5, "vfs_read"), (300, 0.5, "tcp_sendmsg"), (20, 9.0, "vfs_write"), (20, 0.1, "vfs_open"))


def names(text: str = "", sort: int = 0, is_reversed: bool = False) -> list[str]:
    return [row.cells[-1] for row in arrange(FRAME, text=text, sort=sort, is_reversed=is_reversed)]


def test_sorting() -> None:
    assert names() == ["tcp_sendmsg", "vfs_open", "vfs_write", "vfs_read"], "the largest first, then by name"
    assert names(sort=1) == ["vfs_write", "vfs_read", "tcp_sendmsg", "vfs_open"]
    assert names(sort=3) == sorted(names()), "names from A"
    assert names(is_reversed=True)[0] == "vfs_read"
    assert names(sort=3, is_reversed=True) == sorted(names(), reverse=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {"vfs_read", "vfs_write", "vfs_open", "tcp_sendmsg"}),
        ("vfs_", {"vfs_read", "vfs_write", "vfs_open"}),
        ("*_?e*", {"vfs_read", "tcp_sendmsg"}),
        ("read*", set()),
    ],
)
def test_filtering(text: str, expected: set[str]) -> None:
    assert set(names(text)) == expected


def test_filters_look_at_a_rows_text() -> None:
    row = LiveRow(0, ("1", "1", "", "name"), (1, 1.0, "", "name"), "ENOENT open", None)
    frame = LiveFrame("title", COLUMNS, [row], lambda key: [])
    assert arrange(frame, text="ENOENT*") == arrange(frame, text="open") == [row]
    assert not arrange(frame, text="name")


def shown(width: int, *, keep: int | None = None, name: str = "tcp_sendmsg") -> list[str]:
    fitting = fit_rows(COLUMNS, [("1234567", "1.5", "▁▂▃▄▅▆▇█" * 3, name)], width=width, keep=keep)
    return [COLUMNS[index].title for index, _ in fitting]


def test_histograms_go_first_and_names_never() -> None:
    assert shown(80) == ["CALLS", "RATE/S", "1 ns … 8 ms", "FUNCTION"]
    assert shown(50) == ["CALLS", "RATE/S", "FUNCTION"]
    assert shown(24) == ["CALLS", "FUNCTION"]
    assert shown(12) == ["FUNCTION"]
    assert shown(24, keep=1) == ["RATE/S", "FUNCTION"], "the column that rows are sorted by stays"


def test_long_names_do_not_take_the_other_columns_away() -> None:
    assert shown(60, name="f" * 200) == ["CALLS", "RATE/S", "FUNCTION"]


def test_cells_are_aligned_and_cut() -> None:
    cells = ("7", "1.5", "▁", "a_function_with_a_long_name")
    fitting = fit_rows(COLUMNS, [cells], width=20)
    assert line(cells, COLUMNS, fitting) == "a_function_with_a_l…"
    assert line(cells, COLUMNS, [(0, 4), (3, 5)]) == "   7  a_fu…"


@given(
    st.lists(st.tuples(st.integers(0, 10**12).map(str), st.text(max_size=60), st.text(max_size=60)), max_size=9),
    st.integers(20, 200),
)
def test_lines_are_never_wider_than_the_screen(rows: list[tuple[str, str, str]], width: int) -> None:
    columns = (Column("CALLS", True, 1), Column("SPREAD", drop=9), Column("FUNCTION"))
    fitting = fit_rows(columns, rows, width=width)
    assert fitting[-1][0] == 2
    assert sum(n for _, n in fitting) + GAP * (len(fitting) - 1) <= width
    for row in rows:
        assert cell_width(line(row, columns, fitting)) <= width
        assert line(row, columns, fitting).isprintable()


def test_a_process_cannot_write_to_the_terminal() -> None:
    assert printable("\x1b[2J\rname é\udcff") == r"\x1b[2J\rname é\xff"

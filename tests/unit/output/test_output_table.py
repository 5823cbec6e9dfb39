from __future__ import annotations

import io
import re

from hypothesis import given
from hypothesis import strategies as st

from multiprobe.cells import cell_width
from multiprobe.output.table import Column, TextTable, table_lines, write_table

COLUMNS = (Column("N", True), Column("NAME"))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_numbers_stand_at_the_right_and_text_at_the_left() -> None:
    table = TextTable(COLUMNS, [("1,000", "a"), ("7", "longer")])
    assert list(table_lines(table)) == ["    N  NAME", "1,000  a", "    7  longer"]


def test_no_rows() -> None:
    assert list(table_lines(TextTable(COLUMNS, []))) == ["N  NAME"]


@given(st.lists(st.tuples(st.integers(0).map(str), st.text("abc_", min_size=1))))
def test_every_cell_is_there(rows: list[tuple[str, str]]) -> None:
    lines = list(table_lines(TextTable(COLUMNS, rows)))
    assert [tuple(line.split()) for line in lines[1:]] == rows


def test_a_file_gets_plain_text_and_a_terminal_the_same_words() -> None:
    table = TextTable(COLUMNS, [("1", "tcp_[x]")])
    file, terminal = io.StringIO(), Terminal()
    write_table(table, file)
    write_table(table, terminal)
    assert file.getvalue() == "N  NAME\n1  tcp_[x]\n"
    assert "tcp_[x]" in terminal.getvalue()


WIDE = (Column("CALLS", True, 1), Column("MAX", True, 2), Column("1 ns … 8 ms", drop=3), Column("FUNCTION"))
ROWS = [("1,234,567", "375 µs", "▁▂▃▄▅▆▇█", "a_function_with_a_very_long_name"), ("7", "7.08 ms", "█", "short")]


def test_columns_are_left_out_by_rank_and_named() -> None:
    lines = list(table_lines(TextTable(WIDE, ROWS), width=50))
    assert [line.split() for line in lines[:2]] == [
        ["CALLS", "MAX", "FUNCTION"],
        ["1,234,567", "375", "µs", "a_function_with_a_very_long_name"[:30]],
    ]
    assert lines[-1] == "not shown in 50 columns: 1 ns … 8 ms"


def test_names_are_folded_and_numbers_are_not() -> None:
    assert list(table_lines(TextTable(WIDE, ROWS), width=32)) == [
        "    CALLS  FUNCTION",
        "1,234,567  a_function_with_a_ver",
        "             y_long_name",
        "        7  short",
        "not shown in 32 columns: MAX,",
        "    1 ns … 8 ms",
    ]


def test_the_key_stays() -> None:
    assert next(table_lines(TextTable(WIDE, ROWS, key=1), width=32)).split() == ["MAX", "FUNCTION"]


def test_rows_become_lines_where_columns_do_not_fit() -> None:
    columns = (Column("LINK", True), Column("PROGRAM"), Column("FUNCTIONS"), Column("OWNER"))
    table = TextTable(columns, [("12", "a_program 5:59f4a931", "3: vfs_read, vfs_write, …", "-"), ("13", "b", "", "x")])
    assert list(table_lines(table, width=36)) == [
        "LINK       12",
        "PROGRAM    a_program 5:59f4a931",
        "FUNCTIONS  3: vfs_read, vfs_write, …",
        "OWNER      -",
        "",
        "LINK       13",
        "PROGRAM    b",
        "OWNER      x",
    ]
    assert next(table_lines(table)) == "LINK  PROGRAM               FUNCTIONS                  OWNER"


@given(st.lists(st.tuples(st.integers(0, 10**12).map(str), st.text("abc def_", max_size=60))), st.integers(16, 200))
def test_what_a_terminal_gets_fits_and_is_complete(rows: list[tuple[str, str]], width: int) -> None:
    lines = list(table_lines(TextTable((Column("CALLS", True), Column("NAME")), rows), width=width))
    assert all(cell_width(line) <= width for line in lines)
    shown = re.sub("CALLS|NAME| ", "", "".join(lines))
    assert shown == "".join(map("".join, rows)).replace(" ", ""), "as columns or as lines, nothing is lost"

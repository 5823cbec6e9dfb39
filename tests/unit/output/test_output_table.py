from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

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

"""Text in cells of a terminal: widths as an independent library measures them, lines folded without loss."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from multiprobe.cells import cell_width, fold, head, left, right


@pytest.mark.parametrize("text", ["", "vfs_read", "µ…─█▁●", "函数", "😀", "é", "naïve", "ｗｉｄｅ", "한국어"])
def test_widths_are_those_of_a_terminal(text: str) -> None:
    assert cell_width(text) == cell_len(text)
    assert cell_width(left(text, 20)) == cell_width(right(text, 20)) == 20


def test_heads() -> None:
    assert (head("abc", 2), head("函数", 3), head("函数", 1), head("", 3)) == ("ab", "函", "函", "")


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("short", 10, ["short"]),
        ("two words here", 10, ["two words", "    here"]),
        ("  in reads 375 µs", 14, ["  in reads", "      375 µs"]),
        ("attached 1 function", 18, ["attached", "    1 function"]),
        ("x(count=18446744073709551615)", 24, ["x(count=", "    18446744073709551615", "    )"]),
        ("a_name_that_is_longer [module]", 18, ["a_name_that_is_lon", "    ger [module]"]),
        ("numbers 10 20 30", 12, ["numbers 10", "    20 30"]),
        ("ends in spaces    ", 14, ["ends in spaces"]),
    ],
)
def test_folding(text: str, width: int, expected: list[str]) -> None:
    assert fold(text, width) == expected


def test_the_indent_never_takes_more_than_half() -> None:
    assert fold(" " * 48 + "name", 20) == [" " * 10 + "name"]
    assert fold("word " * 3, 12, hang=48) == ["word word", "      word"]


@given(st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), max_size=200), st.integers(4, 60))
def test_nothing_is_lost_and_nothing_is_too_wide(text: str, width: int) -> None:
    lines = fold(text, width)
    assert all(cell_width(line) <= width for line in lines)
    assert "".join("".join(lines).split(" ")) == "".join(text.split(" "))

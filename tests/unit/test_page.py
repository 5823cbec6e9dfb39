"""The page of `--html`: well-formed, complete, and safe to look at whatever names are in it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from multiprobe.output.page import Picture, page
from nasty_names import NASTY

VOID = {"meta", "input"}
REPORT = {
    "requested": 3, "attached": 2, "links": 1, "mechanisms": {"kprobe_multi": 2}, "failed": [],
    "skipped": [{"function": "vfs_<b>", "code": "not_traceable", "reason": "vfs_<b> is not traceable"}],
    "missed": {"link_misses": 7}, "missing": [{"cause": "link_misses", "n": 7, "meaning": "calls not delivered"}],
    "notes": ["a note"],
}  # fmt: skip
ROWS = [
    {"type": "function", "function": "vfs_read", "module": None, "calls": 1200, "total_ns": 1_500_000,
     "histogram": [[512, 1024, 3], [1024, 2048, 12]], "frames": ["a", "b"], "arguments": {"n": 1}},
    {"type": "function", "function": "vfs_write", "module": "ext4", "calls": 3, "total_ns": 900},
]  # fmt: skip


class Checked(HTMLParser):
    """Every element is closed where it was opened; collects the cells of each row, and the texts."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.values: list[str] = []
        self.tags: set[str] = set()
        self.handlers: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.handlers |= {name for name, _ in attrs if name.startswith("on")}
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self.values += [value or "" for name, value in attrs if name == "data-value"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] in (["td"], ["th"]):
            self.rows[-1][-1] += data


def check(text: str) -> Checked:
    checked = Checked()
    checked.feed(text)
    assert checked.open == []
    assert not re.search(r"(src|href)=", text), "it needs nothing else"
    return checked


def test_rows_with_their_units_and_values() -> None:
    found = check(page("multiprobe latency vfs_*", ROWS, REPORT, [Picture("heat", "<svg/>")]))
    skipped, head, *rows = found.rows
    assert skipped == ["vfs_<b>", "vfs_<b> is not traceable"]
    assert head == ["function", "module", "calls", "total", "histogram", "frames", "arguments"]
    assert rows == [
        ["vfs_read", "", "1,200", "1.50 ms", "", "a > b", "n=1"],
        ["vfs_write", "ext4", "3", "900 ns", "", "", ""],
    ]
    assert found.values == ["1200", "1500000", "3", "900"]
    assert {"object", "i", "details"} <= found.tags


def test_what_is_missing_is_said() -> None:
    text = page("t", ROWS, REPORT)
    assert '<section class="missing">' in text
    assert "7 link misses: calls not delivered" in text
    assert "note: a note" in text
    assert '<section class="missing">' not in page("t", ROWS, REPORT | {"missing": [], "missed": {}})


def test_all_functions_that_are_not_attached_are_named() -> None:
    failed = [{"function": f"f{n}", "errno": "EINVAL", "reason": f"why {n}"} for n in range(30)]
    dropped = [{"function": "hot", "reason": "over the budget", "rate": 1e6, "seconds": 1.0}]
    found = check(page("t", [], REPORT | {"failed": failed, "dropped": dropped}))
    assert found.rows == [
        ["vfs_<b>", "vfs_<b> is not traceable"], *([f"f{n}", f"why {n}"] for n in range(30)),
        ["hot", "over the budget"]
    ]  # fmt: skip
    assert found.tags >= {"details", "summary"}


def test_addresses_are_last_and_long_texts_have_lines() -> None:
    rows = [{"function": "f", "address": "0xffffffff81000000", "calls": 1, "frames": ["entry", "do_syscall_64"] * 3}]
    text = page("t", rows, REPORT)
    assert check(text).rows[-2] == ["function", "calls", "frames", "address"]
    assert text.count('class="long"') == 1


def test_a_picture_that_fits_itself_is_as_wide_as_the_page() -> None:
    text = page("t", ROWS, REPORT, [Picture("heat", "<svg/>"), Picture("flame", "<svg/>", is_fluid=True)])
    assert re.findall(r"<object( class=\"fluid\")? ", text) == ["", ' class="fluid"']


def test_dark_and_light() -> None:
    assert "color-scheme: light dark" in page("t", ROWS, REPORT)


def test_without_rows() -> None:
    assert "Nothing was seen." in page("t", [], REPORT)
    check(page("t", [], REPORT))


@pytest.mark.parametrize("name", [spelling for _, spelling in NASTY])
def test_names_are_text_whatever_they_are(name: str) -> None:
    found = check(page(name, [{"function": name, "calls": 1, "name": name}], REPORT | {"notes": [name]}))
    assert not found.handlers
    assert len(found.rows[-1]) == 3


def test_names_that_would_be_elements() -> None:
    found = check(page("<script>alert(1)</script>", [{"function": "<img onerror=x>", "n": 1}], REPORT))
    assert "img" not in found.tags
    assert found.rows[-1] == ["<img onerror=x>", "1"]


def test_columns_without_anything_are_left_out_and_ids_are_no_quantities() -> None:
    rows = [{"function": "f", "module": "", "directory": None, "thread": 4194303, "calls": 4194303}]
    assert check(page("t", rows, REPORT)).rows[-2:] == [["function", "thread", "calls"], ["f", "4194303", "4,194,303"]]

"""HTML for notebooks: well-formed, escaped, short, and the same facts as in text."""

from __future__ import annotations

from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import multiprobe as mp
from multiprobe.functions.sets import Refusal
from multiprobe.links.attachment import Attachment
from multiprobe.links.guard.replaceable import ReplaceableLinks
from multiprobe.links.ledger import Ledger
from multiprobe.links.report import Failure, Report
from multiprobe.markup import MAX_ROWS, table
from multiprobe.output.table import Column, TextTable


class Cells(HTMLParser):
    """The texts of all cells, row by row; fails for tags that don't match, and for anything loaded from elsewhere."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.caption = ""
        self.open: list[str] = []
        self.feed(html)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "img", "style")
        assert not {name for name, _ in attributes} & {"src", "href", "onclick"}
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data
        elif self.open and self.open[-1] == "caption":
            self.caption += data


def test_escaping() -> None:
    nasty = """<script>alert("x")</script> & 'y'"""

    cells = Cells(table(("a<b", "n"), [(nasty, 5)], caption=nasty, numbers={1}))
    assert cells.rows == [["a<b", "n"], [nasty, "5"]]
    assert cells.caption == nasty


def test_long_tables_are_cut() -> None:
    rows = [(n,) for n in range(MAX_ROWS + 1000)]
    assert Cells(table(("n",), rows)).rows[-2:] == [[str(MAX_ROWS - 1)], ["… and 1,000 more"]]
    assert Cells(table(("n",), rows[:5], n_all=7)).rows[-1] == ["… and 2 more"]
    assert len(Cells(table(("n",), [])).rows) == 1


def report() -> Report:
    return Report(
        3,
        attached=1,
        skipped=(Refusal("tcp_<x>", "not_traceable", "tcp_<x> is not traceable"),),
        failed=(Failure("foo", "kprobe_multi", 22, "its module is going away"),),
        links=1,
        mechanisms={"kprobe_multi": 1},
        missed={"link_misses": 1234, "recursion_misses": 0},
    )


def test_reports() -> None:
    cells = Cells(report()._repr_html_())
    assert cells.caption == "requested 3, attached 1 in 1 link (1 by kprobe_multi)"
    assert cells.rows[1:] == [
        ["foo", "failed", "EINVAL from kprobe_multi: its module is going away"],
        ["tcp_<x>", "skipped", "tcp_<x> is not traceable"],
        ["link_misses", "missed", "1,234"],
    ]


def test_attachments() -> None:
    program: Any = SimpleNamespace(name="<count>")
    ledger, store = Ledger(3, report().skipped), SimpleNamespace(losses=dict, deactivate=list, close=list)
    ledger.fail(report().failed)
    links = ReplaceableLinks(None, 0)  # type: ignore[arg-type]
    attachment = Attachment(program, [], links=links, store=store, ledger=ledger)  # type: ignore[arg-type]
    html = attachment._repr_html_()
    assert "<b>&lt;count&gt;</b>, attached" in html
    assert Cells(html).rows[1][0] == "foo"
    attachment.close()


def test_function_sets() -> None:
    from multiprobe.functions.sets import FunctionSet
    from multiprobe.kernel.mechanism import Mechanism

    class Few(FunctionSet):
        __slots__ = ()

        def __init__(self) -> None:
            self.table: Any = SimpleNamespace(offers=Mechanism.ALL & ~Mechanism.TRACING_MULTI)

        def __len__(self) -> int:
            return 500

        def __getitem__(self, place: int) -> Any:
            mechanisms = Mechanism.KPROBE_MULTI | Mechanism.KPROBE | Mechanism.TRACING_MULTI
            verdict = SimpleNamespace(mechanisms=mechanisms, reason="")
            return SimpleNamespace(address=0xFFFF + place, verdict=verdict, __str__=lambda: "f")

        def n_attachable(self, *_: object, **__: object) -> int:
            return 499

    cells = Cells(Few()._repr_html_())
    assert cells.caption == "500 functions, 499 of them attachable"
    assert cells.rows[1][1:] == ["0xffff", "kprobe_multi, kprobe", ""]
    assert cells.rows[-1] == [f"… and {500 - MAX_ROWS} more"]


def test_records_and_tables() -> None:
    records = mp.Table([{"name": "a", "n": 1}, {"name": "<b>", "n": 2 / 3, "more": [1]}])
    assert Cells(records._repr_html_()).rows == [["name", "n", "more"], ["a", "1", ""], ["<b>", "0.666667", "[1]"]]
    assert 'text-align: right">1<' in records._repr_html_()
    shown = TextTable((Column("N", True), Column("NAME")), [("1", "x")])
    assert Cells(shown._repr_html_()).rows == [["N", "NAME"], ["1", "x"]]

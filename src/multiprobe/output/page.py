"""Results as one HTML page that needs nothing else: pictures, a table to sort and search, and what is missing."""

from __future__ import annotations

from binascii import b2a_base64
from typing import TYPE_CHECKING, NamedTuple

from multiprobe.output.report import report_lines
from multiprobe.output.svg import load, xml_text
from multiprobe.output.units import time_text
from multiprobe.plurals import plural_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    Row = Mapping[str, object]

_HIDDEN = ("type", "schema")
_LAST = "address"
_IDS = frozenset({"process", "thread", "pid", "tid", "id", "caller"})
"""Numbers that are not quantities."""
_LONG = 32
"""Letters of a cell from which its text goes on to a second line."""
_NS = "_ns"
_SEARCH = '<p><input id="search" type="search" placeholder="search" aria-label="search"> <span id="n"></span></p>'


class Picture(NamedTuple):
    """An SVG file with its title. `is_fluid`: its script fits it to any width."""

    title: str
    svg: str
    is_fluid: bool = False


def page(title: str, rows: Sequence[Row], report: Mapping[str, object], pictures: Iterable[Picture] = ()) -> str:
    """The page: `rows` as `--json` prints them, and the report of the attachment."""
    return _page(title, rows, _report(report), pictures)


def comparison_page(title: str, rows: Sequence[Row], lines: Iterable[str], pictures: Iterable[Picture] = ()) -> str:
    """The page of a comparison: `lines` are its summary."""
    head = "\n".join(map(xml_text, lines))
    return _page(title, rows, [f"<section>\n<pre>{head}</pre>\n</section>"], pictures)


def _page(title: str, rows: Sequence[Row], head: Iterable[str], pictures: Iterable[Picture]) -> str:
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{xml_text(title)}</title>\n<style>\n{load('page.css')}</style>\n</head>\n<body>",
            f"<h1><code>{xml_text(title)}</code></h1>",
            *head,
            *(_picture(picture) for picture in pictures),
            *_table(rows),
            f"<script>\n{load('page.js')}</script>\n</body>\n</html>\n",
        ]
    )


def _report(report: Mapping[str, object]) -> Iterator[str]:
    """The report's lines; in full, and not folded away, if something is missing."""
    missing = report.get("missing")
    lines = [xml_text(line) for line in report_lines(report)]
    kind = ' class="missing"' if missing else ""
    yield f"<section{kind}>\n<pre>" + "\n".join(lines) + "</pre>"
    for kind in ("skipped", "failed", "dropped"):
        yield from _functions(kind, report.get(kind))
    yield "</section>"


def _functions(kind: str, found: object) -> Iterator[str]:
    """All functions that are not attached for one kind of reason, folded away."""
    if isinstance(found, list) and found:
        yield f"<details><summary>{plural_text(len(found), 'function')} {kind}</summary>\n<table>"
        for one in found:
            yield f"<tr><td>{xml_text(one['function'])}</td><td>{xml_text(one['reason'])}</td></tr>"
        yield "</table></details>"


def _picture(picture: Picture) -> str:
    """A picture in a document of its own, where its scripts and styles work."""
    data = b2a_base64(picture.svg.encode(), newline=False).decode()
    source = f"data:image/svg+xml;base64,{data}"
    kind = ' class="fluid"' if picture.is_fluid else ""
    return f'<figure><object{kind} type="image/svg+xml" data="{source}">{xml_text(picture.title)}</object></figure>'


def _table(rows: Sequence[Row]) -> Iterator[str]:
    every = dict.fromkeys(name for row in rows for name in row)
    used = {name for row in rows for name, item in row.items() if item not in (None, "")}
    names = sorted((name for name in every if name in used and name not in _HIDDEN), key=_LAST.__eq__)
    if not names:
        yield "<p>Nothing was seen.</p>"
        return
    yield _SEARCH
    heads = (f'<th{_class(rows, name)} tabindex="0">{xml_text(_title(name))}</th>' for name in names)
    yield f'<div class="wide"><table id="rows">\n<thead><tr>{"".join(heads)}</tr></thead>\n<tbody>'
    yield from ("<tr>" + "".join(_cell(name, row.get(name)) for name in names) + "</tr>" for row in rows)
    yield "</tbody></table></div>"


def _title(name: str) -> str:
    return name.removesuffix(_NS).replace("_", " ")


def _class(rows: Sequence[Row], name: str) -> str:
    return ' class="number"' if any(_is_number(row.get(name)) for row in rows) else ""


def _is_number(item: object) -> bool:
    return isinstance(item, (int, float)) and not isinstance(item, bool)


def _cell(name: str, item: object) -> str:
    """A cell; numbers carry their value, by which the table is sorted."""
    if name == "histogram" and isinstance(item, list):
        return f"<td>{_bars(item)}</td>"
    if not _is_number(item):
        text = _text(item)
        kind = ' class="long"' if len(text) > _LONG else ""
        return f"<td{kind}>{xml_text(text)}</td>"
    assert isinstance(item, (int, float))
    is_time = name.endswith(_NS) or name in ("ns", "duration")
    text = time_text(item) if is_time else str(item) if name in _IDS else f"{item:,}"
    return f'<td class="number" data-value="{item}">{text}</td>'


def _text(item: object) -> str:
    """An item that is no number: parts of lists and objects one after the other."""
    if item is None:
        return ""
    if isinstance(item, dict):
        return ", ".join(f"{name}={_text(part)}" for name, part in item.items())
    if isinstance(item, (list, tuple)):
        return " > ".join(map(_text, item))
    return str(item)


def _bars(buckets: Sequence[Sequence[float]]) -> str:
    """A histogram ([from, to, n] each) as bars, from the lowest bucket that was hit to the highest."""
    most = max((bucket[2] for bucket in buckets), default=0)
    bars = []
    for low, high, n in buckets:
        about = f"{time_text(low)} to {time_text(high)}: {n:,}"
        bars.append(f'<i style="height:{max(4, round(100 * n / most))}%" title="{xml_text(about)}"></i>')
    return f'<span class="bars">{"".join(bars)}</span>'

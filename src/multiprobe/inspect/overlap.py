"""The matrix of functions × links: which links are on which functions. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.cells import cell_width, fold
from multiprobe.names import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from multiprobe.inspect.observed import ObservedLink
    from multiprobe.inspect.targets import Target

#: One colour for each attachment, in turn.
COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "red")
_MARKS = {"entry": "●", "return": "○", "session": "◉", "": "◆"}
_NONE = "·"
GAP = 2

Spans = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class MixRow:
    """A function. name, module: as in /proc/kallsyms; address: of its symbol, None for one that has none here."""

    name: str
    module: str
    address: int | None

    def __str__(self) -> str:
        return f"{self.name} [{self.module}]" if self.module else self.name


@dataclass(frozen=True, slots=True)
class Cell:
    """A link on a function: its cookie (None if the kernel hides it), and its offsets other than 0 in the function."""

    cookie: int | None
    offsets: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Mix:
    """Functions × links: `cells[i][j]` is what `links[j]` has on `rows[i]`, or None.

    n_bare: the number of functions without any link that were left out
    """

    rows: tuple[MixRow, ...]
    links: tuple[ObservedLink, ...]
    cells: tuple[tuple[Cell | None, ...], ...]
    n_bare: int


def make_mix(functions: Iterable[MixRow], links: Sequence[ObservedLink], *, keep_bare: int = 0) -> Mix:
    """Which links are on which functions; functions that carry nothing are kept if they are at most `keep_bare`."""
    rows = tuple(functions)
    find = _finder(rows)
    table: list[dict[int, Cell]] = [{} for _ in rows]
    for column, link in enumerate(links):
        for target in link.targets:
            for place in find(target):
                before = table[place].get(column)
                offsets = (*(before.offsets if before else ()), *([target.offset] if target.offset else []))
                table[place][column] = Cell(target.cookie, offsets)
    columns = sorted({column for cells in table for column in cells})
    bare = sum(not cells for cells in table)
    kept = [place for place, cells in enumerate(table) if cells or bare <= keep_bare]
    return Mix(
        tuple(rows[place] for place in kept),
        tuple(links[column] for column in columns),
        tuple(tuple(table[place].get(column) for column in columns) for place in kept),
        0 if bare <= keep_bare else bare,
    )


def _finder(rows: Sequence[MixRow]) -> Callable[[Target], Sequence[int]]:
    """Returns the rows that a target is: by address (which several names may have), else by a name that is unique."""
    by_address: dict[int, list[int]] = {}
    by_name: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        if row.address:
            by_address.setdefault(row.address, []).append(place)
        by_name.setdefault(row.name, []).append(place)

    def find(target: Target) -> Sequence[int]:
        if target.address:
            return by_address.get(target.address, ())
        named = by_name.get(target.name, ())
        return named if len(named) == 1 else ()

    return find


def cell_text(cell: Cell | None, when: str) -> str:
    """A cell in a word: a mark for the side, and the cookie unless it is 0."""
    if cell is None:
        return _NONE
    mark = _MARKS.get(when, "◆")
    places = "".join(f"+{offset:#x}" for offset in cell.offsets)
    cookie = "" if not cell.cookie else f" {short_number(cell.cookie)}"
    return f"{mark}{places}{cookie}"


def short_number(number: int) -> str:
    """Small numbers as decimal, large ones as hexadecimal."""
    return str(number) if number < 1_000_000 else f"{number:#x}"


def headings(link: ObservedLink) -> tuple[str, str, str]:
    """The three lines above a link's column: kind, side, program."""
    name = link.program.name or f"program {link.program.prog_id}"
    number = f" #{link.link_id}" if link.link_id else ""
    return f"{link.kind}{number}", link.when or "?", name


def runs(mix: Mix) -> Iterator[tuple[int, int]]:
    """Stretches [first, end) of rows whose cells look alike."""
    first = 0
    for place in range(1, len(mix.rows) + 1):
        if place == len(mix.rows) or _looks(mix, place) != _looks(mix, first):
            yield first, place
            first = place


def _looks(mix: Mix, place: int) -> tuple[bool, ...]:
    return tuple(cell is not None for cell in mix.cells[place])


def shown_rows(mix: Mix, limit: int) -> list[tuple[str, tuple[str, ...]]]:
    """Rows to show, as texts: all of them, or if they are more than `limit`, one for each stretch of like rows."""
    if len(mix.rows) <= limit:
        return [(str(row), _texts(mix, place)) for place, row in enumerate(mix.rows)]
    shown = []
    for first, end in runs(mix):
        if end - first < 3:
            shown += [(str(mix.rows[place]), _texts(mix, place)) for place in range(first, end)]
        else:
            name = f"{mix.rows[first]} … {mix.rows[end - 1]} ({end - first} functions)"
            marks = zip(mix.cells[first], mix.links, strict=True)
            shown.append((name, tuple(_NONE if cell is None else _MARKS[link.when] for cell, link in marks)))
    return shown


def _texts(mix: Mix, place: int) -> tuple[str, ...]:
    return tuple(cell_text(cell, link.when) for cell, link in zip(mix.cells[place], mix.links, strict=True))


def mix_lines(mix: Mix, *, limit: int, width: int | None = None) -> Iterator[Spans]:
    """The mix as aligned lines of (text, style), with a colour for each link.

    width: of a terminal: links that don't fit beside each other follow in blocks below, with the functions again
    """
    shown = [(printable(name), texts) for name, texts in shown_rows(mix, limit)]
    heads = [[printable(text) for text in headings(link)] for link in mix.links]
    columns = [max(map(cell_width, (*head, *(texts[n] for _, texts in shown)))) for n, head in enumerate(heads)]
    names = max(cell_width(name) for name in ("FUNCTION", *(name for name, _ in shown)))
    if width is not None:
        names = min(names, max(len("FUNCTION"), min(width - GAP - max(columns), width // 2)))
    for block, indexes in enumerate(_blocks(columns, None if width is None else width - names)):
        if block:
            yield ()
        for line in range(3):
            title = [("FUNCTION" if line == 0 else "", "bold")]
            yield _row(title[0], [(heads[n][line], f"bold {_colour(n)}") for n in indexes], names, columns, indexes)
        for name, texts in shown:
            cells = [(texts[n], "dim" if texts[n] == _NONE else f"black on {_colour(n)}") for n in indexes]
            *above, last = fold(name, names, hang=GAP)
            yield from (((part, ""),) for part in above)
            yield _row((last, ""), cells, names, columns, indexes)


def _colour(n: int) -> str:
    return COLOURS[n % len(COLOURS)]


def _blocks(columns: Sequence[int], width: int | None) -> Iterator[list[int]]:
    """The links that go beside each other, one at least."""
    block: list[int] = []
    for n in range(len(columns)):
        if block and width is not None and sum(columns[other] + GAP for other in (*block, n)) > width:
            yield block
            block = []
        block.append(n)
    yield block


def _row(
    first: tuple[str, str],
    cells: Sequence[tuple[str, str]],
    names: int,
    columns: Sequence[int],
    indexes: Sequence[int],
) -> Spans:
    """A line: the name, and the cells of a block, each padded but the last."""
    row = [(first, names), *zip(cells, (columns[n] for n in indexes), strict=True)]
    while row and not row[-1][0][0]:
        row.pop()
    spans: list[tuple[str, str]] = []
    for n, ((text, style), width) in enumerate(row):
        spans.append((text, style))
        if n < len(row) - 1:
            spans.append((" " * (width - cell_width(text) + GAP), ""))
    return tuple(spans)


LEGEND = f"{_MARKS['entry']} entry  {_MARKS['return']} return  {_MARKS['session']} session; the number is the cookie"

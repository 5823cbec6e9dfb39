"""The figures as tables of at most 80 columns, one for each kind of measurement."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from multiprobe.bench.figures import Figure
from multiprobe.output.table import Column, TextTable
from multiprobe.output.units import time_text
from multiprobe.plurals import plural_text

_STEPS = ("attach", "detach")


def amount(figure: Figure) -> str:
    """The median in its unit, and the spread of the runs."""
    return f"{_number(figure)} ±{figure.spread:.0%}" if len(figure.runs) > 1 else _number(figure)


def _number(figure: Figure) -> str:
    if figure.unit in ("s", "ns"):
        return time_text(figure.median * (1e9 if figure.unit == "s" else 1))
    if figure.unit == "bytes":
        return f"{figure.median / 1e6:,.1f} MB"
    return f"{figure.median:,.0f}"


def _ratio(figure: Figure | None) -> str:
    return "" if figure is None or figure.ratio is None else f"{figure.ratio:.2f}"


def _attach(found: Sequence[Figure]) -> TextTable:
    columns = ("FUNCTIONS", "MECHANISM", "TOOL", "ATTACH", "DETACH", "OF RAW")
    steps: dict[tuple[str, int, str], dict[str, Figure]] = {}
    for one in found:
        if one.step in _STEPS:
            steps.setdefault((one.way, one.functions or 0, one.tool), {})[one.step] = one
    rows = []
    for (way, n, tool), both in steps.items():
        ratios = " ".join(filter(None, (_ratio(both.get(step)) for step in _STEPS)))
        rows.append((f"{n:,}", way, tool, *(amount(both[step]) for step in _STEPS), ratios))
    return _table(columns, rows, texts=("MECHANISM", "TOOL"))


def _hit(found: Sequence[Figure]) -> TextTable:
    rows = []
    for one in found:
        question, _, mechanism = one.way.partition(", ")
        rows.append((question, mechanism, one.tool, amount(one), _ratio(one)))
    cost = "TIME OF A CALL" if found[0].unit == "ns" else "INSTRUCTIONS"
    titles = ("QUESTION", "MECHANISM", "TOOL", cost, "OF BPFTRACE")
    return _table(titles, rows, texts=titles[:3])


def _events(found: Sequence[Figure]) -> TextTable:
    cases: dict[tuple[str, str], dict[str, Figure]] = {}
    for one in found:
        cases.setdefault((one.tool, one.way), {})[one.step] = one
    rows = [
        (tool, way, *(amount(steps[step]) for step in ("rate", "received", "dropped")), _ratio(steps["rate"]))
        for (tool, way), steps in cases.items()
    ]
    titles = ("TOOL", "AS", "PER CPU SECOND", "RECEIVED", "DROPPED", "OF BPFTRACE")
    return _table(titles, rows, texts=titles[:2])


def _start(found: Sequence[Figure]) -> TextTable:
    tools = list(dict.fromkeys(one.tool for one in found))
    cells = {(one.step, one.tool): one for one in found}
    rows = []
    for step in dict.fromkeys(one.step for one in found):
        mine = [cells.get((step, tool)) for tool in tools]
        rows.append((step, *(amount(one) if one else "" for one in mine), _ratio(cells.get((step, tools[0])))))
    return _table(("PHASE", *map(str.upper, tools), "OF BPFTRACE"), rows, texts=("PHASE",))


def _memory(found: Sequence[Figure]) -> TextTable:
    commands = dict.fromkeys(one.way for one in found)
    predicted = {(one.way, one.cpus): one for one in found if one.step == "predicted"}
    measured = {one.way: one for one in found if one.step == "measured"}
    cpus = sorted({one.cpus for one in predicted.values() if one.cpus is not None})
    rows = []
    for name in commands:
        cells = (predicted.get((name, n)) for n in cpus)
        here = amount(measured[name]) if name in measured else ""
        rows.append((name, *(_number(one) if one else "refused" for one in cells), here))
    return _table(("COMMAND", *(plural_text(n, "CPU") for n in cpus), "MEASURED"), rows, texts=("COMMAND",))


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, texts: Sequence[str]) -> TextTable:
    return TextTable(tuple(Column(title, title not in texts) for title in titles), rows)


MAKERS: dict[str, Callable[[Sequence[Figure]], TextTable]] = {
    "attach": _attach,
    "hit": _hit,
    "events": _events,
    "start": _start,
    "memory": _memory,
}


def tables(found: Iterable[Figure]) -> Iterator[tuple[str, TextTable]]:
    """(kind, table) of each kind of measurement that there are figures of."""
    every = list(found)
    for kind, make in MAKERS.items():
        mine = [one for one in every if one.bench == kind]
        if mine:
            yield kind, make(mine)

"""The figures as tables of at most 80 columns, one for each kind of measurement."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from multiprobe.bench.figures import Figure, spread
from multiprobe.output.table import Column, TextTable
from multiprobe.output.units import time_text
from multiprobe.plurals import plural_text

_STEPS = ("attach", "detach")


def amount(figure: Figure) -> str:
    """The median in its unit, and the spread of the runs."""
    return _with_spread(_number(figure), figure.runs)


def ratio(figure: Figure | None) -> str:
    """The median of the ratios, and their spread; "" without any."""
    if figure is None or figure.ratio is None:
        return ""
    return _with_spread(f"{figure.ratio:.2f}", figure.ratios)


def _with_spread(text: str, values: Sequence[float]) -> str:
    return f"{text} ±{spread(values):.0%}" if len(values) > 1 else text


def _number(figure: Figure) -> str:
    if figure.unit in ("s", "ns"):
        return time_text(figure.median * (1e9 if figure.unit == "s" else 1))
    if figure.unit == "bytes":
        return f"{figure.median / 1e6:,.1f} MB"
    return f"{figure.median:,.0f}"


def _attach(found: Sequence[Figure]) -> TextTable:
    """What stands side by side is what is compared: a step by all tools."""
    groups: dict[tuple[str, int, str], list[Figure]] = {}
    for one in found:
        if one.step in _STEPS:
            groups.setdefault((one.way, one.functions or 0, one.step), []).append(one)
    rows = [
        (f"{n:,}", way, step, one.tool, amount(one), ratio(one))
        for (way, n, step), tools in groups.items()
        for one in tools
    ]
    titles = ("FUNCTIONS", "MECHANISM", "STEP", "TOOL", "TIME", "OF RAW")
    return _table(titles, rows, texts=titles[1:4])


def _hit(found: Sequence[Figure]) -> TextTable:
    rows = []
    for one in found:
        question, _, mechanism = one.way.partition(", ")
        rows.append((question, mechanism, one.tool, amount(one), ratio(one)))
    cost = "TIME OF A CALL" if found[0].unit == "ns" else "INSTRUCTIONS"
    titles = ("QUESTION", "MECHANISM", "TOOL", cost, "OF BPFTRACE")
    return _table(titles, rows, texts=titles[:3])


def _events(found: Sequence[Figure]) -> TextTable:
    cases: dict[tuple[str, str], dict[str, Figure]] = {}
    for one in found:
        cases.setdefault((one.tool, one.way), {})[one.step] = one
    rows = [
        (tool, way, *(amount(steps[step]) for step in ("rate", "received", "dropped")), ratio(steps["rate"]))
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
        rows.append((step, *(amount(one) if one else "" for one in mine), ratio(cells.get((step, tools[0])))))
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

"""Compares results with those before: how many figures are within the spread of these, and which are not.

    reproduced.py BEFORE [NOW]

Both are directories as bench/results, which is the second if there is only one. A figure is reproduced if its median is
no further from the one before than that one's runs are from each other (±), or than 2 %. Instructions, memory and
numbers of events depend on the kernel and on multiprobe alone, ratios hardly on the machine. Times are compared only
where the machines are described alike, and mean something only if they were the same: an emulated one does not tell
its host. Ratios of a single run, or without their spread, are left out.
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from multiprobe.bench import attaching, tables
from multiprobe.bench.figures import Figure
from multiprobe.output.table import Column, TextTable, table_lines
from multiprobe.plurals import plural_text
from results import RESULTS, Results, load_results

LEAST = 0.02
"""What is no further apart than this part is the same, however small the spread."""
TIMES, RATIOS, COUNTS = "times", "ratios", "instructions, bytes and events"
UNITS_OF_TIME = ("s", "ns", "events/s")
MACHINE = ("architecture", "cpu", "cpus", "virtualisation")


class Value(NamedTuple):
    """A number in the tables: its kind, the runs that it is the median of, and how the tables show it."""

    kind: str
    runs: tuple[float, ...]
    text: str


class Compared(NamedTuple):
    """A number of both sets of results."""

    name: str
    before: Value
    now: Value

    @property
    def is_reproduced(self) -> bool:
        """Whether the median is within the spread before."""
        median, allowed = statistics.median(self.before.runs), max(self.before.runs) - min(self.before.runs)
        return abs(statistics.median(self.now.runs) - median) <= max(allowed, LEAST * abs(median))


def values(series: str, results: Results) -> dict[str, Value]:
    """The numbers of a kernel, by what is measured."""
    found = {}
    for one in results.figures:
        name = f"{series} {named(one)}"
        found[name] = Value(TIMES if one.unit in UNITS_OF_TIME else COUNTS, one.runs, tables.amount(one))
        if len(one.ratios) > 1:
            found[f"{name}: ratio"] = Value(RATIOS, one.ratios, tables.ratio(one))
    return found


def named(one: Figure) -> str:
    """What a figure is of. How many "all" functions are depends on the kernel's build."""
    functions = f"{one.functions:,}" if one.bench == "attach" and one.functions in attaching.SIZES else ""
    cpus = f"{one.cpus} CPU" if one.cpus else ""
    return ", ".join(filter(None, (f"{one.bench}: {one.step}", functions, cpus, one.way, one.tool)))


def machines_differ(before: Results, now: Results) -> list[str]:
    """In what the machines differ, as far as they are described."""
    return [name for name in MACHINE if told(before, name) != told(now, name)]


def told(results: Results, name: str) -> set[str]:
    """What the machines are said to be in one respect."""
    return {str(machine[name]) for machine in results.machines}


def summary(compared: Iterable[Compared]) -> Iterator[str]:
    """How many numbers are reproduced, by kind, and in all."""
    n_all, n_same = Counter[str](), Counter[str]()
    for one in compared:
        n_all[one.before.kind] += 1
        n_same[one.before.kind] += one.is_reproduced
    for kind in sorted(n_all):
        yield f"{kind}: {n_same[kind]} of {n_all[kind]} are within the spread before"
    yield f"of {n_all.total()} figures {n_same.total()} are within the spread before (±, or {LEAST:.0%})"


def missing(before: Mapping[str, Value], now: Mapping[str, Value]) -> Iterator[str]:
    """What there is of one set only."""
    for when, names in (("before", before.keys() - now.keys()), ("now", now.keys() - before.keys())):
        if names:
            yield f"only {when}: {plural_text(len(names), 'figure')}, such as {min(names)}"


def report(before: Mapping[str, Results], now: Mapping[str, Results]) -> Iterator[str]:
    """Lines on all kernels that there are results of, by series."""
    both = {series: (before[series], now[series]) for series in sorted(before.keys() & now.keys())}
    for series, pair in both.items():
        old, new = (", ".join(sorted(told(results, "kernel"))) for results in pair)
        if old != new:
            yield f"{series} was {old}, and is {new}"
    earlier, later = (
        {name: value for series, results in every.items() for name, value in values(series, results).items()}
        for every in (before, now)
    )
    yield from missing(earlier, later)
    compared = [Compared(name, earlier[name], later[name]) for name in earlier if name in later]
    if differ := sorted({name for pair in both.values() for name in machines_differ(*pair)}):
        yield f"times are not compared: the machines differ in {', '.join(differ)}"
        compared = [one for one in compared if one.before.kind != TIMES]
    yield from summary(compared)
    yield from listed([one for one in compared if not one.is_reproduced])


def listed(others: list[Compared]) -> Iterator[str]:
    """A table of what is not reproduced."""
    if others:
        columns = (Column("NOT WITHIN IT"), Column("BEFORE", is_number=True), Column("NOW", is_number=True))
        yield from ("", *table_lines(TextTable(columns, [(one.name, one.before.text, one.now.text) for one in others])))


def load(directory: Path) -> dict[str, Results]:
    """The results of each kernel in a directory, by series."""
    return {path.stem: load_results(path) for path in sorted(directory.glob("*.jsonl"))}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("before", type=Path)
    options.add_argument("now", type=Path, nargs="?", default=RESULTS)
    given = options.parse_args()
    for line in report(load(given.before), load(given.now)):
        print(line)


if __name__ == "__main__":
    main()

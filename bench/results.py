"""Writes bench/results/README.md from the results beside it (`multiprobe bench --json`); draws them in docs/pictures.

`make bench` runs it; every figure there is one of the results. A file has the lines of all guests with one kernel: runs
of the same thing in several guests are one figure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from multiprobe.bench import attaching, plots
from multiprobe.bench.figures import Figure, together
from multiprobe.bench.machine import peer_texts
from multiprobe.bench.tables import tables
from multiprobe.output.table import TextTable

RESULTS = Path(__file__).with_name("results")
PICTURES = RESULTS.parents[1] / "docs/pictures"
HEAD = """\
# Results

Written by `bench/results.py` from the files beside it, which `multiprobe bench --json` printed. A figure is the median
of all runs in all guests, ± the distance from the least to the most of them, as a part of it; a ratio is the median of
the ratios within the runs, in which the tools took turns, ± the same of these. So ± is how far two runs, of different
guests too, were apart, and the median of a repetition is expected within it, or within 2 % where that is more
(`bench/reproduced.py` compares). Times and events are of three guests, instructions of the runs in one, memory of one
run; where a file has one guest's runs only, ± is less than guests differ. The machines are emulated: times depend on
the host and on what else it does, ratios less, instructions and memory hardly. What is measured is on
[a page of its own](../../docs/bench.md).
"""


class Results(NamedTuple):
    """What was found with one kernel: descriptions of the machines, figures over all of them, and notes."""

    machines: list[dict[str, object]]
    figures: list[Figure]
    notes: list[str]


def load_results(path: Path) -> Results:
    """The results in a file of JSON lines."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    machines, figures, notes = ([one for one in lines if one["type"] == kind] for kind in ("machine", "figure", "note"))
    return Results(
        machines, together(map(Figure.from_json, figures)), list(dict.fromkeys(str(one["note"]) for one in notes))
    )


def main() -> None:
    text, newest = HEAD, {}
    for path in sorted(RESULTS.glob("*.jsonl"), key=lambda path: [int(part) for part in path.stem.split(".")]):
        results = load_results(path)
        found = results.figures
        newest |= {one.bench: [other for other in found if other.bench == one.bench] for one in found}
        text += "\n" + "\n".join(page(path.stem, results))
    (RESULTS / "README.md").write_text(text)
    for drawn in plots.draw(chain.from_iterable(newest.values()), PICTURES):
        print(drawn)


def page(series: str, results: Results) -> Iterator[str]:
    """The part about one kernel."""
    yield f"## Linux {series}\n"
    yield from dict.fromkeys(map(described, results.machines))
    for kind, table in tables(results.figures):
        yield f"\n### {kind}\n"
        yield from markdown(table)
        if kind == "attach":
            yield from ("", "```", *attaching.lines(results.figures), "```")
    yield from ["", *(f"- {note}" for note in results.notes)] if results.notes else []
    yield ""


def described(machine: dict[str, object]) -> str:
    """A machine, as an item of a list."""
    return (
        f"- {machine['kernel']}, {machine['cpus']} CPU, {machine['virtualisation']}, clock of {machine['clock']}, "
        f"Python {machine['python']}, {', '.join(peer_texts(machine))}"
    )


def markdown(table: TextTable) -> Iterator[str]:
    """A table as Markdown."""
    yield "| " + " | ".join(column.title for column in table.columns) + " |"
    yield "|" + "|".join("--:" if column.is_number else "---" for column in table.columns) + "|"
    for row in table.rows:
        yield "| " + " | ".join(row) + " |"


if __name__ == "__main__":
    main()

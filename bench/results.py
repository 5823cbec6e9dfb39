"""Writes bench/results/README.md from the results beside it (`multiprobe bench --json`); draws them in docs/pictures.

`make bench` runs it; every figure there is one of the results.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from multiprobe.bench import attaching, plots
from multiprobe.bench.figures import Figure
from multiprobe.bench.machine import peer_texts
from multiprobe.bench.tables import tables
from multiprobe.output.table import TextTable

RESULTS = Path(__file__).with_name("results")
PICTURES = RESULTS.parents[1] / "docs/pictures"
HEAD = """\
# Results

Written by `bench/results.py` from the files beside it, which `multiprobe bench --json` printed: medians, ± half the
distance from the least to the most; ratios are medians of the ratios within the runs, in which the tools took turns.
The machines are emulated, and did not have the host for themselves: times depend on that, ratios less, instructions
hardly. ± is that of the runs in one guest: from one guest to the next, times differed by a tenth (all functions of 6.12
were attached in 3.18 s and 3.45 s). What is measured is on [a page of its own](../../docs/bench.md).
"""


def main() -> None:
    text, newest = HEAD, {}
    for path in sorted(RESULTS.glob("*.jsonl"), key=lambda path: [int(part) for part in path.stem.split(".")]):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        found = [Figure.from_json(line) for line in lines if line["type"] == "figure"]
        newest |= {one.bench: [other for other in found if other.bench == one.bench] for one in found}
        text += "\n" + "\n".join(page(path.stem, lines, found))
    (RESULTS / "README.md").write_text(text)
    for drawn in plots.draw(chain.from_iterable(newest.values()), PICTURES):
        print(drawn)


def page(series: str, lines: list[dict[str, object]], found: list[Figure]) -> Iterator[str]:
    """The part about one kernel."""
    yield f"## Linux {series}\n"
    yield from dict.fromkeys(described(line) for line in lines if line["type"] == "machine")
    for kind, table in tables(found):
        yield f"\n### {kind}\n"
        yield from markdown(table)
        if kind == "attach":
            yield from ("", "```", *attaching.lines(found), "```")
    notes = [str(line["note"]) for line in lines if line["type"] == "note"]
    yield from ["", *(f"- {note}" for note in notes)] if notes else []
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

"""Runs of `graph`: single calls become numbers of calls and times by the path that led to them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from made_runs import make_run
from test_runs_comparing import flame_of

import multiprobe as mp
from multiprobe.cli.main import run as command
from multiprobe.errors import DataError
from multiprobe.runs import totals
from multiprobe.runs.paths import MAX_DEPTH, CallPaths

Tree = Sequence[tuple[str, int | None, "Tree"]]
LABELS = (("", "a"), ("", "b"), ("", "c"), ("nf", "d"))


def calls(*trees: tuple[str, int | None, Any]) -> list[dict[str, Any]]:
    """The rows of trees of calls: (function, duration, the trees below)."""
    found: list[dict[str, Any]] = []

    def add(tree: tuple[str, int | None, Any], caller: int | None) -> None:
        name, duration, below = tree
        function, _, module = name.partition(":")
        number = len(found)
        found.append(
            {"type": "call", "id": number, "caller": caller, "function": function, "module": module, "thread": 1,
             "process": 1, "name": "x", "begin": 0, "end": duration, "duration": duration}
        )  # fmt: skip
        for one in below:
            add(one, number)

    for tree in trees:
        add(tree, None)
    return found


ROWS = calls(("a", 100, [("b", 30, [("d:nf", 10, [])]), ("b", 50, [])]), ("b", 7, []), ("a", None, [("b", 5, [])]))
BY_PATH = {
    ("a",): (2, 1, 100, 20),
    ("a", "b"): (3, 0, 85, 75),
    ("a", "b", "d [nf]"): (1, 0, 10, 10),
    ("b",): (1, 0, 7, 7),
}


@pytest.mark.parametrize("size", [1, 2, 3, len(ROWS)])
def test_calls_are_added_up_by_path(size: int) -> None:
    paths = CallPaths()
    found: dict[tuple[str, ...], tuple[int, ...]] = {}
    batches = [paths.add(ROWS[n : n + size]) for n in range(0, len(ROWS), size)]
    for row in [one for batch in [*batches, paths.end()] for one in batch]:
        values = [row[name] for name in ("calls", "running", "total_ns", "self_ns")]
        found[row["frames"]] = tuple(map(sum, zip(found.get(row["frames"], (0, 0, 0, 0)), values, strict=True)))
        assert sum(n for *_, n in row["histogram"]) == 1 - row["running"]
    assert found == BY_PATH


def test_merging_adds_them_up() -> None:
    runs = [make_run(ROWS, name=name, host=name, command="graph", attached=LABELS) for name in ("one", "two")]
    merged = mp.merge(runs)
    rows = {tuple(row["frames"]): row for row in merged.rows}
    assert {path: row["calls"] for path, row in rows.items()} == {path: 2 * n for path, (n, *_) in BY_PATH.items()}
    row = rows["a", "b"]
    assert (row["self_ns"], row["total_ns"], row["max_ns"], row["hosts"]) == (150, 170, 50, 2)
    assert (row["module"], row["function"]) == ("", "b")


def test_the_table_of_a_merge_shows_paths(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(ROWS, command="graph", attached=LABELS).save(tmp_path / "run")
    assert command(["merge", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split()[-1] == "PATH"
    assert "a > b > d [nf]" in out


def runs_of(side: str, middle: float, chance: random.Random) -> list[mp.Run]:
    """Five runs in which b takes about so long below a, and is called by itself as well."""
    runs = []
    for n in range(5):
        below = [int(middle * chance.lognormvariate(0, 0.2)) for _ in range(40)]
        trees = [("a", 1000 + took, [("b", took, [])]) for took in below]
        trees += [("b", int(500 * chance.lognormvariate(0, 0.2)), []) for _ in range(40)]
        name = f"{side}{n}"
        runs.append(make_run(calls(*trees), name=name, command="graph", attached=LABELS, workload="true"))
    return runs


def test_what_became_slower_is_claimed_by_its_path() -> None:
    chance = random.Random(3)
    found = mp.diff(runs_of("before", 500, chance), runs_of("after", 2000, chance))
    claims = {(tuple(row["frames"]), row["measure"], row["change"]) for row in found.claims}
    slower = {(path, f"{which} time", "slower") for path in (("a",), ("a", "b")) for which in ("mean", "typical")}
    assert claims == slower
    assert not mp.diff(runs_of("one", 500, chance), runs_of("two", 500, chance)).claims


def test_the_flame_graph_shows_times(tmp_path: Path) -> None:
    sides: Mapping[str, Any] = {"before": [("b", 400, [])], "after": [("b", 600, []), ("c", 100, [])]}
    for side, below in sides.items():
        rows = calls(("a", 1000, below))
        make_run(rows, name=side, command="graph", attached=LABELS, workload="true").save(tmp_path / side)
    flame = tmp_path / "flame.svg"
    assert command(["diff", str(tmp_path / "before"), str(tmp_path / "after"), "--flame", str(flame)]) == 0
    assert {name: text for name, (text, _) in flame_of(flame).items()} == {
        "all": "all: 1.00 µs before, 1.00 µs after (1.00 times)",
        "a": "a: 1.00 µs before, 1.00 µs after (1.00 times)",
        "b": "b: 400 ns before, 600 ns after (1.50 times)",
        "c": "c: 0 ns before, 100 ns after",
    }


@pytest.mark.parametrize("command_name", ["stacks", "graph"])
def test_what_only_one_side_could_attach_is_not_in_the_flame_graph(command_name: str) -> None:
    """Nor is it divided by runs that could not attach it."""

    def run(name: str, *functions: str) -> mp.Run:
        rows = (
            calls(*((function, 100, []) for function in functions))
            if command_name == "graph"
            else [{"type": "stack", "function": one, "module": "", "frames": [one], "calls": 100} for one in functions]
        )
        return make_run(rows, name=name, command=command_name, workload="true")

    found = mp.diff([run("1", "a", "b"), run("2", "a")], [run("3", "a", "b", "c"), run("4", "a", "b", "c")])
    assert found.flame == ({("a",): 100.0, ("b",): 100.0}, {("a",): 100.0, ("b",): 100.0})
    assert [row["function"] for row in found.unavailable] == ["c"]


@pytest.mark.parametrize(
    "change",
    [
        {"caller": 7},
        {"caller": "x"},
        {"caller": []},
        {"id": None},
        {"id": True},
        {"duration": -1},
        {"duration": 1 << 64},
        {"duration": 1.5},
        {"function": None},
        {"module": 3},
    ],
    ids=str,
)
def test_rows_that_graph_does_not_write_are_refused(change: dict[str, object]) -> None:
    run = make_run([*ROWS, {**ROWS[0], "id": 99, **change}], command="graph", attached=LABELS)
    with pytest.raises(DataError, match="an invalid row"):
        mp.merge([run])


def test_missing_fields_are_refused() -> None:
    run = make_run([{"type": "call", "id": 1}], command="graph", attached=LABELS)
    with pytest.raises(DataError, match="an invalid row"):
        mp.merge([run])


def test_too_many_frames_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(totals, "MAX_FRAMES", 6)
    with pytest.raises(DataError, match="more than 6 frames"):
        mp.merge([make_run(ROWS, command="graph", attached=LABELS)])


def test_endless_depth_is_refused() -> None:
    row = ROWS[0]
    deep = [{**row, "id": n, "caller": n - 1 if n else None} for n in range(MAX_DEPTH + 1)]
    with pytest.raises(DataError, match="more than 10,000 calls inside one another"):
        mp.merge([make_run(deep, command="graph", attached=LABELS)])

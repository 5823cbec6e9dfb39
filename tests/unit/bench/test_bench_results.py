"""bench/results: its page has the figures of the files, and these are read back whole; how results are compared."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from multiprobe.bench.benches import BENCHES
from multiprobe.bench.figures import Figure

BENCH = Path(__file__).parents[3] / "bench"
FILES = sorted((BENCH / "results").glob("*.jsonl"))
MACHINE = {"type": "machine", "architecture": "x86_64", "cpu": "QEMU", "cpus": 1, "virtualisation": "emulated"}


def module(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A program of bench/."""
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module(name)


def test_the_page_has_the_figures_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = module("results", monkeypatch)
    for path in FILES:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    monkeypatch.setattr(results.plots, "draw", lambda *_: [])
    results.main()
    assert (tmp_path / "README.md").read_text() == (BENCH / "results/README.md").read_text()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_read_back_whole(path: Path) -> None:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    found = [Figure.from_json(line) for line in lines if line["type"] == "figure"]
    assert found
    assert lines[0]["type"] == "machine"
    assert lines[0]["kernel"].startswith(path.stem)
    assert {one.bench for one in found} <= BENCHES.keys()
    for one, line in zip(found, (line for line in lines if line["type"] == "figure"), strict=True):
        assert one.median == pytest.approx(line["median"])


# Two sets of results

ATTACHED = Figure(
    bench="attach", step="attach", tool="multiprobe", way="kprobe_multi", functions=40_452, unit="s",
    runs=(3.0, 3.1, 3.2), peer="system calls", ratios=(1.02, 1.04, 1.06),
)  # fmt: skip
HIT = Figure(bench="hit", step="hit", tool="multiprobe", way="count", functions=1, unit="instructions", runs=(300.0,))


def compared(
    before: list[Figure], now: list[Figure], folder: Path, monkeypatch: pytest.MonkeyPatch, **machine: object
) -> list[str]:
    """The lines on these figures, as of one kernel; `machine`: what is different of it now."""
    reproduced = module("reproduced", monkeypatch)
    for name, found, described in (("before", before, MACHINE), ("now", now, MACHINE | machine)):
        write(folder / name, found, described)
    return list(reproduced.report(*(reproduced.load(folder / name) for name in ("before", "now"))))


def write(folder: Path, found: list[Figure], described: Mapping[str, object]) -> None:
    folder.mkdir()
    lines = [described | {"kernel": "6.12.1"}, *(one.to_json() for one in found)]
    (folder / "6.12.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_what_is_within_the_spread_is_reproduced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [replace(ATTACHED, runs=(3.3, 3.3, 9.0), ratios=(1.0, 1.0, 1.9), functions=40_453), replace(HIT, runs=(306,))]
    assert compared([ATTACHED, HIT], now, tmp_path, monkeypatch) == [
        "instructions, bytes and events: 1 of 1 are within the spread before",
        "ratios: 1 of 1 are within the spread before",
        "times: 1 of 1 are within the spread before",
        "of 3 figures 3 are within the spread before (±, or 2%)",
    ]


def test_what_is_not_is_listed_with_both_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [replace(ATTACHED, runs=(3.31, 3.31), ratios=(1.09, 1.09)), replace(HIT, runs=(307,))]
    said = compared([ATTACHED, HIT], now, tmp_path, monkeypatch)
    assert "of 3 figures 0 are within the spread before (±, or 2%)" in said
    assert [" ".join(line.split()) for line in said[-3:]] == [
        "6.12 attach: attach, kprobe_multi, multiprobe 3.10 s ±6% 3.31 s ±0%",
        "6.12 attach: attach, kprobe_multi, multiprobe: ratio 1.04 ±4% 1.09 ±0%",
        "6.12 hit: hit, count, multiprobe 300 307",
    ]


def test_runs_of_several_guests_are_compared_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = replace(ATTACHED, runs=(3.5, 3.5, 3.6), ratios=(1.2, 1.2, 1.2))
    said = compared([ATTACHED, elsewhere], [elsewhere], tmp_path, monkeypatch)
    assert said[-1].startswith("of 2 figures 2 are")


def test_times_of_other_machines_are_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = compared([ATTACHED, HIT], [replace(ATTACHED, runs=(9.0,)), HIT], tmp_path, monkeypatch, cpus=2)
    assert said[0] == "times are not compared: the machines differ in cpus"
    assert said[-1].startswith("of 2 figures 2 are")


def test_another_kernel_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reproduced = module("reproduced", monkeypatch)
    write(tmp_path / "before", [HIT], MACHINE)
    before = reproduced.load(tmp_path / "before")
    now = {series: one._replace(machines=[MACHINE | {"kernel": "6.12.2"}]) for series, one in before.items()}
    assert next(reproduced.report(before, now)) == "6.12 was 6.12.1, and is 6.12.2"


def test_what_one_set_lacks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = compared([ATTACHED], [HIT], tmp_path, monkeypatch)
    assert said[:2] == [
        "only before: 2 figures, such as 6.12 attach: attach, kprobe_multi, multiprobe",
        "only now: 1 figure, such as 6.12 hit: hit, count, multiprobe",
    ]
    assert said[-1].startswith("of 0 figures 0 are")


def test_the_program_compares_directories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "before", [ATTACHED], MACHINE)
    monkeypatch.setattr(sys, "argv", ["reproduced.py", str(tmp_path / "before"), str(tmp_path / "before")])
    module("reproduced", monkeypatch).main()
    assert capsys.readouterr().out.splitlines()[-1] == "of 2 figures 2 are within the spread before (±, or 2%)"

"""bench/results: the page is what bench/results.py makes of the files, and these are read back whole."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from multiprobe.bench.benches import BENCHES
from multiprobe.bench.figures import Figure

BENCH = Path(__file__).parents[3] / "bench"
FILES = sorted((BENCH / "results").glob("*.jsonl"))


def test_the_page_has_the_figures_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("bench_results", BENCH / "results.py")
    assert spec is not None
    assert spec.loader is not None
    results = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(results)
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

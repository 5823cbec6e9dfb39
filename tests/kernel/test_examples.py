"""Every example runs, says something, and leaves nothing attached; and none is longer than a screen."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

OF_PROCESSES = {"python_functions"}
"""Those that measure a process, whose id they are given: tested in tests/outside."""
EXAMPLES = sorted(
    path for path in (Path(__file__).parents[2] / "examples").glob("*.py") if path.stem not in OF_PROCESSES
)
NOTEBOOK = Path(__file__).parents[2] / "examples/notebooks/latency.ipynb"
MAX_LINES = 40
#: A part of what each must print, whatever the kernel.
SAYS = {
    "async_events": " true",
    "bounded": "_raw_spin_lock",
    "by_type": "inode",
    "cookies": "0xfeed000000000002",
    "count_calls": "vfs_",
    "failing_calls": "ENOENT  ls",
    "file_sizes": "Read(pid=",
    "mixed": "kprobe: 1,000",
    "opened_files": "/etc/hostname",
    "read_sizes": "bucket",
    "slow_calls": "µs each",
    "who_calls": "vfs_",
}


#: Attach so many functions that one by one, as on 6.1, it takes minutes.
MANY = {"by_type", "slow_calls", "bounded"}
PARAMETERS = [
    pytest.param(path, marks=pytest.mark.once("7.3") if path.stem in MANY else (), id=path.stem) for path in EXAMPLES
]


def test_all_are_known() -> None:
    assert {path.stem for path in EXAMPLES} == set(SAYS)


@pytest.mark.parametrize("path", PARAMETERS)
def test_example(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(path.read_text().splitlines()) < MAX_LINES
    runpy.run_path(str(path), run_name="__main__")
    assert SAYS[path.stem] in capsys.readouterr().out


@pytest.mark.once("6.12")
def test_the_notebook(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its cells one after the other, but for the picture, which takes matplotlib."""
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    script = tmp_path / "notebook.py"
    script.write_text("\n\n".join(source for source in sources if "matplotlib" not in source) + "\nprint(n[top[0]])\n")
    runpy.run_path(str(script), run_name="__main__")
    assert int(capsys.readouterr().out) > 100
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell.get("outputs", ()))

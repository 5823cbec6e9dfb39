"""Coverage of a compiled program, with its source lines."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import multiprobe as mp
from multiprobe.instruments.coverage.instrument import start

SOURCE = Path(__file__).parent / "programs/calls.c"


def lines_with(*names: str) -> list[int]:
    """The numbers of the lines at which functions begin."""
    lines = SOURCE.read_text().splitlines()
    return [next(n for n, line in enumerate(lines, 1) if line.startswith("NOINLINE") and f" {name}(" in line)
            for name in names]  # fmt: skip


def test_functions_that_ran_have_their_lines(described: Path) -> None:
    pytest.importorskip("elftools")
    functions = mp.Binary(described).functions("leaf", "first", "second", "negative")
    with start(functions) as running:
        subprocess.run([described, "tail", "1"], check=False)
        found = running.finish()
    assert {one.function.name for one in found.covered} == {"first", "second"}
    leaf, second, first, negative = lines_with("leaf", "second", "first", "negative")
    assert found.lcov().splitlines()[1:12] == [
        f"SF:{SOURCE}",
        f"FN:{leaf},leaf", f"FN:{second},second", f"FN:{first},first", f"FN:{negative},negative",
        "FNDA:0,leaf", "FNDA:1,second", "FNDA:1,first", "FNDA:0,negative",
        "FNF:4", "FNH:2",
    ]  # fmt: skip

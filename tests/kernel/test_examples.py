"""Every example runs, says something, and leaves nothing attached; and none is longer than a screen."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
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

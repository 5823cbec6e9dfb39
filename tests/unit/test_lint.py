"""The linters run as tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "arguments",
    [
        ["ruff", "check", "--no-cache"],  # the cache knows a file by its content; where imports belong, other files say
        ["ruff", "format", "--check"],
        ["mypy", "--no-error-summary"],
    ],
    ids=["ruff check", "ruff format", "mypy"],
)
def test_lint(arguments: list[str]) -> None:
    folders = (
        []
        if arguments[0] == "mypy"
        else [name for name in ("src", "tests", "bench", "examples") if (ROOT / name).is_dir()]
    )
    ended = subprocess.run(
        [sys.executable, "-m", *arguments, *folders], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr

"""docs/selftests.md names tests: each of them exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_test_that_the_page_names_exists() -> None:
    named = re.findall(r"(test_\w+\.py)::(test_\w+)", (ROOT / "docs/selftests.md").read_text(encoding="utf-8"))
    assert len(named) > 20
    for file, name in named:
        (path,) = [path for folder in ("kernel", "user") if (path := ROOT / "tests" / folder / file).exists()]
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, f"{file}::{name}"

"""The distributions, which are built once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD = ["-m", "build", "--no-isolation", "--skip-dependency-check", "--outdir"]
NOT_PACKED = (".git", ".venv*", "__pycache__", "*.egg-info", ".*_cache", ".hypothesis", "build", "dist")


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, as a build leaves files behind."""
    folder = tmp_path_factory.mktemp("build") / "tree"
    return Path(shutil.copytree(ROOT, folder, symlinks=True, ignore=shutil.ignore_patterns(*NOT_PACKED)))


@pytest.fixture(scope="session")
def distributions(tree: Path) -> dict[str, Path]:
    """The source distribution, and the wheel that is built from it, by their endings."""
    command = [sys.executable, *BUILD, str(tree.parent / "dist"), str(tree)]
    ended = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    built = {path.suffix: path for path in (tree.parent / "dist").iterdir()}
    assert set(built) == {".gz", ".whl"}
    return built


@pytest.fixture(scope="session")
def wheel(distributions: dict[str, Path]) -> Path:
    return distributions[".whl"]

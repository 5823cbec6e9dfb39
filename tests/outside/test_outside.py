"""Examples and the blocks of README and docs type-check from outside, against the wheel, as a user's code would."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BUILD = ["-m", "build", "--wheel", "--no-isolation", "--skip-dependency-check", "--outdir"]

# To do: what does not type-check yet.
MYPY_ERRORS = 63
PYRIGHT_ERRORS = 37


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources, as a build leaves files behind."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    command = [sys.executable, *BUILD, str(folder / "dist"), str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (built,) = (folder / "dist").iterdir()
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel in it; what the wheel depends on is read from where this runs."""
    folder = tmp_path_factory.mktemp("outside") / "venv"
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(site)
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every example and every Python block, each a file of its own."""
    folder = tmp_path_factory.mktemp("scripts")
    for example in (ROOT / "examples").glob("*.py"):
        shutil.copy(example, folder / f"example_{example.name}")
    for page in PAGES:
        text = page.read_text()
        for match in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text[: match.start()].count("\n") + 2
            (folder / f"{page.stem.replace('-', '_')}_{line}.py").write_text(match[1])
    return folder


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    """Also those that are no modules: py.typed, stubs, scripts and styles."""
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("multiprobe/")}
    sources = (path for path in (ROOT / "src").rglob("*") if path.is_file() and path.suffix != ".pyc")
    names = {str(path.relative_to(ROOT / "src")) for path in sources}
    assert packed == {name for name in names if name.startswith("multiprobe/")}
    assert {"multiprobe/py.typed", "multiprobe/__init__.pyi"} <= packed


def check(command: list[str], scripts: Path, expected: int) -> None:
    """Run a type checker over the scripts. Its errors may only become fewer."""
    ended = subprocess.run(command, cwd=scripts, capture_output=True, text=True, check=False)
    assert ended.returncode in (0, 1), ended.stdout + ended.stderr
    assert len(re.findall(r": error: | - error: ", ended.stdout)) <= expected, ended.stdout + ended.stderr


def test_mypy(python: Path, scripts: Path, tmp_path: Path) -> None:
    options = ["--strict", f"--python-executable={python}", "--config-file=", f"--cache-dir={tmp_path}"]
    check([sys.executable, "-m", "mypy", *options, "."], scripts, MYPY_ERRORS)


@pytest.mark.skipif(shutil.which("pyright") is None, reason="no pyright: npm install --global pyright")
def test_pyright(python: Path, scripts: Path) -> None:
    check(["pyright", "--pythonpath", str(python), "."], scripts, PYRIGHT_ERRORS)

"""Completion of words, and what share/ holds for shells and man."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_kernel import LIKE_6_12, FakeKernel
from multiprobe.cli.main import run

ROOT = Path(__file__).parents[3]
BY_HAND = "multiprobe"
"""The folder of the dashboard and the rules."""


@pytest.fixture(autouse=True, scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with FakeKernel(tmp_path_factory.mktemp("fake"), LIKE_6_12):
        yield


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("co", {"count", "coverage", "completion"}),
        ("count vfs_re", {"vfs_read", "vfs_rename"}),
        ("count !vfs_re", {"!vfs_read", "!vfs_rename"}),
        ("functions vfs_re", {"vfs_read", "vfs_rename"}),
        ("inspect vfs_re", {"vfs_read", "vfs_rename"}),
        ("count --mech", {"--mechanism"}),
        ("count vfs_read -- no", {"notes.txt", "nothing/"}),
        ("count vfs_read -- nowhere/x", set()),
        ("count ", set()),  # not all functions of the kernel
        ("count \xff", set()),
    ],
)
def test_complete(
    words: str,
    completed: set[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "nothing").mkdir()
    line = ["multiprobe", *words.split(" ")]
    monkeypatch.setenv("_MULTIPROBE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", " ".join(line))
    monkeypatch.setenv("COMP_CWORD", str(len(line) - 1))
    assert run([]) == 0
    assert {line.partition(",")[2] for line in capsys.readouterr().out.split("\n") if line} == completed


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    assert f"_MULTIPROBE_COMPLETE={shell}_complete" in capsys.readouterr().out
    assert run(["completion", "tcsh"]) == 2


def test_man_pages_and_completions_are_those_of_the_commands(tmp_path: Path) -> None:
    """`make pages` writes them."""
    subprocess.run([sys.executable, str(ROOT / "tools/generate-pages"), str(tmp_path)], check=True)
    written = _texts(ROOT / "share")
    assert {path: text for path, text in written.items() if path.parts[0] != BY_HAND} == _texts(tmp_path)


def _texts(folder: Path) -> dict[Path, str]:
    return {path.relative_to(folder): path.read_text() for path in folder.rglob("*") if path.is_file()}

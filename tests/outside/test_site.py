"""The documentation as a site: built without a warning, so without a broken link, and complete."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import multiprobe as mp
from multiprobe.cli import group

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(directory)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    return directory


def anchors(page: Path) -> set[str]:
    return set(re.findall(r'id="([^"]+)"', page.read_text(encoding="utf-8")))


def test_every_public_name_is_in_the_api(site: Path) -> None:
    assert {f"multiprobe.{name}" for name in mp.__all__} - {"multiprobe.__version__"} <= anchors(
        site / "api/index.html"
    )


def test_every_option_of_every_command_is_in_the_reference(site: Path) -> None:
    text = (site / "cli/index.html").read_text(encoding="utf-8")
    context = group.commands.make_context("multiprobe", ["help"])
    names = group.commands.list_commands(context)
    assert len(names) > 10
    for name in names:
        command = group.commands.get_command(context, name)
        assert command is not None
        _, found, section = text.partition(f'id="multiprobe-{name}"')
        assert found, name
        section = re.split(r'id="multiprobe-(?!' + name + ")", section)[0]
        options = {word for one in command.params for word in one.opts if word.startswith("--")}
        assert {word for word in options if not re.search(rf"{word}\b(?!-)", section)} == set(), name
        assert "Sentinel" not in section, "a default that is none"

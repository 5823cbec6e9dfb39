"""Every code block of README and docs means something: Python that parses and names what exists, command lines that
click accepts, JSON that loads, links that lead somewhere. `tests/kernel/test_docs.py` runs them."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

import doc_blocks
import multiprobe as mp
from doc_blocks import ROOT
from multiprobe import errors
from multiprobe.cli import group

PAGES = [ROOT / "CONTRIBUTING.md", *doc_blocks.PAGES]
#: Pages that tools/site_hooks.py adds to the site.
OF_THE_SITE = {"install.md", "support.md", "changelog.md", "contributing.md", "security.md"}
LANGUAGES = {"python", "console", "sh", "json", "text", "yaml", "ini", "dockerfile"}


def blocks(language: str) -> list[object]:
    """All blocks of a language, as pytest parameters."""
    return [pytest.param(one.text, id=one.id) for one in doc_blocks.blocks(PAGES) if one.language == language]


def commands() -> list[object]:
    """Every command line after a `$`."""
    return [
        pytest.param(line.removeprefix("$ "), id=f"{block.id}:{line[2:40]}")  # type: ignore[attr-defined]
        for block in blocks("console")
        for line in block.values[0].splitlines()  # type: ignore[attr-defined]
        if line.startswith("$ ")
    ]


def test_every_block_says_what_it_is() -> None:
    for page in PAGES:
        fences = re.findall(r"^```(.*)$", page.read_text(), re.MULTILINE)
        assert set(fences[::2]) <= LANGUAGES, page.name
        assert set(fences[1::2]) <= {""}, page.name


@pytest.mark.parametrize("block", blocks("python"))
def test_python(block: str) -> None:
    names = {
        node.attr
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "mp"
    }
    assert names <= set(mp.__all__)


@pytest.mark.parametrize("command", commands())
def test_command(command: str) -> None:
    words = shlex.split(command, comments=True)
    if words[0] == "multiprobe":
        group.parse(words[1:])
    else:
        assert words[0] in ("make", "git", "pip", "pipx", "uv", "python3", "sudo")


def shown_commands() -> list[object]:
    """Every command line that begins with `multiprobe` in a block that isn't run."""
    return [
        pytest.param(line, id=f"{one.id}:{line[:40]}")
        for one in doc_blocks.blocks(PAGES)
        if one.language == "sh"
        for line in one.text.replace("\\\n", "").splitlines()
        if line.startswith("multiprobe ")
    ]


@pytest.mark.parametrize("command", shown_commands())
def test_command_that_is_not_run(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(command, comments=True)
    monkeypatch.chdir(tmp_path)
    for script in words:
        if script.endswith(".py"):
            Path(script).touch()
    group.parse(words[1:])


def inline_commands() -> list[object]:
    """Every command line in a cell of a table that is one, from its first word to its last."""
    return [
        pytest.param(command, id=f"{page.name}:{command[:40]}")
        for page in PAGES
        for command in re.findall(r"\| `(multiprobe [^`|]*)` \|", page.read_text())
    ]


@pytest.mark.parametrize("command", inline_commands())
def test_command_in_a_table(command: str) -> None:
    group.parse(shlex.split(command)[1:])


@pytest.mark.parametrize("block", blocks("json"))
def test_json(block: str) -> None:
    assert all("type" in json.loads(line) for line in block.splitlines())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("https://") or target in OF_THE_SITE or (page.parent / target).exists(), target


def test_every_class_of_errors_has_its_section() -> None:
    classes = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, mp.MultiprobeError)]
    text = (ROOT / "docs/exceptions.md").read_text()
    assert re.findall(r"^## (\w+)$", text, re.MULTILINE) == [one.__name__ for one in sorted(classes, key=place(text))]
    for one in classes:
        row = re.search(rf"^\| \[{one.__name__}\]\(#{one.__name__.lower()}\) \| *(\w*) *\| (\d) \|", text, re.MULTILINE)
        assert row, one
        assert int(row[2]) == one.exit_status, one
        assert not row[1] or row[1] in [base.__name__ for base in one.__mro__], one


def place(text: str) -> Callable[[type], int]:
    """Where a text first has the name of a class in brackets."""
    return lambda one: text.index(f"[{one.__name__}]")

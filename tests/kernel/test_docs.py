"""Every Python block and every `multiprobe` command line of README and docs, run on a real kernel.

Blocks of Python are programs of their own. Command lines must end with status 0; those that would start another virtual
machine are left to the VM's own tests.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import forked
import pytest

import multiprobe as mp

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

pytestmark = [
    pytest.mark.once("6.12"),
    pytest.mark.skipif(
        not (mp.Kernel().has("kprobe_multi") or mp.Kernel().has("tracing_multi")),
        reason="this kernel has no kprobe_multi: one function at a time, what the pages do takes an hour",
    ),
]


def blocks(language: str) -> list[object]:
    found = []
    for page in PAGES:
        for match in re.finditer(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
            if match[1] == language:
                line = page.read_text()[: match.start()].count("\n") + 1
                found.append(pytest.param(match[2], id=f"{page.name}:{line}"))
    return found


def commands() -> list[str]:
    lines = [line for block in blocks("console") for line in block.values[0].splitlines()]  # type: ignore[attr-defined]
    words = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines if line.startswith("$ multiprobe ")]
    return sorted({shlex.join(word[1:]) for word in words if word[1] != "vm" and not _starts_a_vm(word)})


def _starts_a_vm(words: list[str]) -> bool:
    return any(word == "--vm" or word.startswith("--vm=") for word in words)


@pytest.mark.parametrize("block", blocks("python"))
def test_python(block: str, tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text(block)
    ended = forked.run_script(script)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("command", commands())
def test_command(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # some run a script of examples/
    ended = forked.run(shlex.split(command))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout or command == "inspect --json"  # nothing is attached

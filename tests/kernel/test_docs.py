"""Every Python block and every `multiprobe` command line of README and docs, run on a real kernel.

Blocks of Python are programs of their own. Command lines must end with status 0; those that would start another virtual
machine are left to the VM's own tests. On a kernel like that of the pages, what a page shows as the output has the
words and columns of what is printed.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest

import forked
import multiprobe as mp
from doc_blocks import ROOT, Block, blocks, command_lines, differences, outputs

pytestmark = [
    pytest.mark.once("6.12"),
    pytest.mark.skipif(
        not (mp.Kernel().has("kprobe_multi") or mp.Kernel().has("tracing_multi")),
        reason="this kernel has no kprobe_multi: one function at a time, what the pages do takes an hour",
    ),
]


LIKE_THAT_OF_THE_PAGES = re.match(r"6\.12\..*-cloud-amd64$", os.uname().release) is not None
"""Where the outputs that pages show come from; other kernels have other functions, files and features."""
PROGRAMS = [block for block in blocks() if block.language == "python"]
SHOWN = dict(outputs())
"""What pages show as the output of a block, by the block."""


def commands() -> dict[str, list[str]]:
    """Every command line of the pages, with the outputs that they show for it."""
    found: dict[str, list[str]] = {}
    for block in blocks():
        if block.language == "console":
            lines = command_lines(block)
            for line in lines:
                found.setdefault(line, [])
            if block in SHOWN:
                found[lines[-1]].append(SHOWN[block].text)
    return found


COMMANDS = commands()
SAVING = {words[words.index("--save") + 1]: line for line in COMMANDS if "--save" in (words := shlex.split(line))}
"""The command line that writes a saved run, by the run's path."""


@pytest.mark.parametrize("block", PROGRAMS, ids=lambda block: block.id)
def test_python(block: Block, tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text(block.text)
    ended = forked.run_script(script)
    assert ended.returncode == 0, ended.stderr
    needs_disks = "/sys/block" in block.text  # of which a guest may have none: then nothing is printed
    if LIKE_THAT_OF_THE_PAGES and block in SHOWN and (ended.stdout or not needs_disks):
        assert differences(SHOWN[block].text, ended.stdout) == []


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_command(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # some run a script of examples/
    for path in SAVING.keys() & shlex.split(command):
        if SAVING[path] != command and not Path(path).exists():  # that test is not run, or will be
            forked.run(shlex.split(SAVING[path]), check=True)
    ended = forked.run(shlex.split(command))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout or command == "inspect --json"  # nothing is attached
    if LIKE_THAT_OF_THE_PAGES:
        assert [differences(shown, ended.stdout) for shown in COMMANDS[command]] == [[] for _ in COMMANDS[command]]

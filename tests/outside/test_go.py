"""Functions of a stripped program in Go, as Debian ships it: they have their names, and every call is counted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from packages import unpack

import multiprobe as mp
from multiprobe.kernel.features import Features

DOCUMENT = {"apples": [1, 2, {"pears": 3}]}
N_STATEMENTS = 6
"""The lines that gron makes of it: one for each value, be it a number, a list or an object."""


@pytest.fixture(scope="session")
def gron(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(tmp_path_factory.mktemp("gron"), "gron") / "usr/bin/gron"


def test_a_stripped_program_has_names(gron: Path) -> None:
    binary = mp.Binary(gron)
    assert ".symtab" not in binary.sources
    found = {function.name: function for function in binary.functions("main.*")}
    assert found["main.main"].source == ".gopclntab"
    assert found["main.statement.String"].size > 0
    assert {one.code for one in binary.functions("main.main").refusals(when="return")} == {"go_return"}


def test_every_call_is_counted(gron: Path, tmp_path: Path) -> None:
    answer = Features().probe("uprobe_multi")
    if not answer.is_yes:
        pytest.skip(f"this kernel has no uprobe_multi, for this user: {answer.evidence}")
    document = tmp_path / "document.json"
    document.write_text(json.dumps(DOCUMENT))
    command = [sys.executable, "-m", "multiprobe", "count", "--json", f"{gron}:main.*", "--", str(gron), str(document)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    *rows, _ = map(json.loads, ran.stdout.splitlines())
    calls = {row["function"]: row["calls"] for row in rows}
    assert calls["main.main"] == 1
    assert sum(line.startswith("json") for line in ran.stderr.splitlines()) == N_STATEMENTS
    assert calls["main.statementToString"] == N_STATEMENTS

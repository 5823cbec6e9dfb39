"""Arguments and results of programs with DWARF: each that is shown is what the program itself prints."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.user.passing import Maker, expected

pytest.importorskip("elftools", reason="the extra `dwarf` is not installed")
N = 40
BUILDS = {
    "O0": ("gcc", "-O0", "-g"),
    "O2": ("gcc", "-O2", "-g"),
    "O2-4": ("gcc", "-O2", "-gdwarf-4"),
    "Os": ("gcc", "-Os", "-g"),
    "O3-static": ("gcc", "-O3", "-g", "-fno-var-tracking"),
    "c++": ("g++", "-O2", "-g", "-fpermissive"),
}


def traced(path: Path, *patterns: str, options: tuple[str, ...] = ()) -> tuple[list[dict[str, Any]], str]:
    command = [sys.executable, "-m", "multiprobe", "trace", "--json", "--output", f"{path}.json", *options]
    ran = subprocess.run([*command, *patterns, "--", str(path)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    rows = [json.loads(line) for line in Path(f"{path}.json").read_text().splitlines()]
    return [row for row in rows if row["type"] == "call"], ran.stdout


def is_right(shown: object, printed: str) -> bool:
    if isinstance(shown, bool):
        return printed == str(int(shown))
    if printed.startswith('"') and str(shown).startswith("0x"):  # the address of a string: returned, or on the stack
        return True
    return str(shown) == printed


def unreadable(shown: object) -> bool:
    return isinstance(shown, str) and shown.startswith("<not readable: ")


@pytest.mark.usefixtures("sessions")
@pytest.mark.parametrize("build", BUILDS)
def test_every_value_is_what_the_program_prints(tmp_path: Path, build: str) -> None:
    compiler, *flags = BUILDS[build]
    if not shutil.which(compiler):
        pytest.skip(f"no {compiler} here")
    made = Maker(sorted(BUILDS).index(build), N)
    source = tmp_path / ("source.cpp" if compiler == "g++" else "source.c")
    source.write_text(made.source)
    program = tmp_path / "program"
    subprocess.run([compiler, *flags, "-w", "-o", str(program), str(source)], check=True)
    calls, output = traced(program, f"{program}:f*")
    by_name = {call["function"].partition(".")[0]: call for call in calls}
    lines = [expected(line) for line in output.splitlines() if line.startswith("f")]
    assert len(lines) == N
    n_read = n_unread = 0
    for name, printed in lines:
        call = by_name[name]
        is_clone = "." in call["function"]
        result = printed.pop("=", "?")
        if result != "?" and not unreadable(call["returned"]):
            assert is_right(call["returned"], result), (name, call["returned"], result)
        if result != "?" and not is_clone:
            assert not unreadable(call["returned"]), (name, call)
        for parameter, value in printed.items():
            if is_clone and parameter not in call["arguments"]:
                continue
            shown = call["arguments"][parameter]
            n_read, n_unread = n_read + (not unreadable(shown)), n_unread + unreadable(shown)
            if value == "?":
                continue
            if unreadable(shown):
                assert is_clone or "beyond" in shown, (name, parameter, shown)
            else:
                assert is_right(shown, value), (name, parameter, shown, value)
    assert n_read > N
    assert n_unread > N

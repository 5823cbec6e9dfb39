"""The command line measures functions of programs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from multiprobe.kernel.features import Features
from multiprobe.links.mechanisms.red_zone import try_probe


def multiprobe(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "multiprobe", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def records(command: str, *arguments: str) -> list[dict[str, Any]]:
    ran = multiprobe(command, "--json", *arguments)
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def test_count(program: Path) -> None:
    *rows, report = records("count", f"{program}:*", "--", str(program), "plain", "500")
    found = {row["function"]: (row["calls"], row["module"]) for row in rows}
    assert found["leaf"] == (500, "calls")
    assert found["main"] == (1, "calls")
    assert report["mechanisms"] == {"uprobe_multi": report["attached"]}
    assert [one["function"] for one in report["failed"]] == ["prefixed"]


def test_count_of_returns(program: Path) -> None:
    (row, _) = records("count", "--return", f"{program}:descend", "--", str(program), "recursion", "20")
    assert row["calls"] == 21


def test_latency(program: Path) -> None:
    arguments = ("latency", f"{program}:first", f"{program}:second", "--", str(program), "tail", "30")
    if Features().probe("uprobe_session").is_no:
        assert "no uprobe sessions" in multiprobe(*arguments).stderr
        return
    rows = {row["function"]: row for row in records(*arguments)[:-1]}
    assert {name: row["calls"] for name, row in rows.items()} == {"first": 30, "second": 30}


def test_trace(program: Path) -> None:
    arguments = ("trace", f"{program}:leaf", f"{program}:negative", "--", str(program), "values", "1")
    if Features().probe("uprobe_session").is_no:
        pytest.skip("this kernel has no uprobe_session")
    shown = multiprobe(*arguments).stdout
    assert "leaf(arg0=0x29, " in shown
    assert "= 0x2a" in shown


@pytest.mark.usefixtures("guest")
def test_coverage(program: Path) -> None:
    *rows, report = records("coverage", f"{program}:*", "security_file_*", "--", str(program), "tail", "3")
    ran = {row["function"] for row in rows if row["module"] == program.name}
    assert {"main", "first", "second"} <= ran
    assert not {"leaf", "descend", "negative"} & ran
    covered = {row["module"]: row["covered"] for row in report["modules"]}
    assert covered[program.name] == len(ran)
    assert covered[""] == len(report["lsm_hooks"]) > 0


def test_what_takes_functions_of_the_kernel_only(program: Path) -> None:
    for command in ("errors", "graph", "stacks"):
        ran = multiprobe(command, f"{program}:leaf", "--", "true")
        assert ran.returncode == 5
        assert f"{command} takes functions of the kernel only" in ran.stderr


def test_functions_says_what_a_probe_would_change(program: Path) -> None:
    is_harmed = bool(try_probe()[1])
    rows = {row["function"]: row["code"] for row in records("functions", f"{program}:red_zone", f"{program}:leaf")}
    assert rows == {"red_zone": "red_zone" if is_harmed else "", "leaf": ""}
    shown = multiprobe("functions", "--why", f"{program}:red_zone").stdout
    assert ("refused: red_zone: red_zone begins with a five-byte nop, and this kernel" in shown) == is_harmed


def test_a_dry_run(program: Path) -> None:
    (plan,) = records("count", f"{program}:leaf", f"{program}:first", "--dry-run")
    assert (plan["attached"], plan["links"]) == (2, 1)

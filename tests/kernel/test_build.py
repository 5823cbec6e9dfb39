"""A build by `make -j2` is measured with all of its compilers, by `count`, `trace` and `latency`; strace agrees."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import forked

pytestmark = pytest.mark.once("6.12")

CALLS = ("execve", "openat", "unlink")
FUNCTIONS = tuple(f"__x64_sys_{call}" for call in CALLS)
UNITS = 3
MAKEFILE = """\
CC = {compiler}
all: unit0.o unit1.o unit2.o
%.o: %.c
\t$(CC) -c -o $@ $<
"""
#: Where no compiler is installed: like one, it is a driver that starts other programs, with a temporary file.
DRIVER = """\
#!/bin/sh
cat "$4" >"$3.s"
sh -c 'tr a-z A-Z <"$1" >"$2"' sh "$3.s" "$3"
unlink "$3.s"
"""
SUMMARY = re.compile(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of a build from the beginning."""
    folder = tmp_path_factory.mktemp("build")
    driver = folder / "driver"
    driver.write_text(DRIVER)
    driver.chmod(0o700)
    for n in range(UNITS):
        (folder / f"unit{n}.c").write_text(f"#include <stddef.h>\nsize_t unit{n}(void) {{ return {n}; }}\n")
    (folder / "Makefile").write_text(MAKEFILE.format(compiler=shutil.which("cc") or driver))
    make = shutil.which("make")
    assert make
    command = [make, "-j2", "-B", "-s", "-C", str(folder)]
    subprocess.run(command, check=True)  # what only a first run does
    return command


@pytest.fixture(scope="module")
def traced(build: list[str]) -> list[dict[str, Any]]:
    """Every call, by `trace`."""
    return measured("trace", build)[0]


def measured(command: str, build: list[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    words = [command, *FUNCTIONS, "--mechanism", "kprobe", "--command-only", "--json", "--", *build]
    ended = forked.run(words)
    assert ended.returncode == 0, ended.stderr
    *found, report = map(json.loads, ended.stdout.splitlines())
    assert not report["missing"]
    return found, report


def test_every_compiler_is_there(traced: list[dict[str, Any]]) -> None:
    names = Counter(call["name"] for call in traced if call["function"] == "__x64_sys_openat")
    n_started = len({call["process"] for call in traced})
    assert n_started >= 1 + 2 * UNITS, "make, the drivers, and what they start"
    compiler = "cc1" if shutil.which("cc") else "tr"
    assert len({call["process"] for call in traced if call["name"] == compiler}) == UNITS, names


@pytest.mark.parametrize("command", ["count", "latency"])
def test_commands_agree(command: str, build: list[str], traced: list[dict[str, Any]]) -> None:
    found, report = measured(command, build)
    counts = {row["function"]: row["calls"] for row in found if row["type"] == "function"}
    assert counts == Counter(call["function"] for call in traced)
    assert report["processes"] == len({call["process"] for call in traced})


def test_strace_agrees(build: list[str], traced: list[dict[str, Any]], tmp_path: Path) -> None:
    """Where the machine has strace; the tests above hold the commands against each other."""
    counts = Counter(call["function"] for call in traced)
    assert all(counts[function] >= UNITS for function in FUNCTIONS)
    strace = shutil.which("strace")
    if strace is None:
        return
    summary = tmp_path / "summary"
    watched = [strace, "-f", "-c", "-o", str(summary), "-e", f"trace={','.join(CALLS)}"]
    subprocess.run([*watched, *build], check=True)
    seen = {call: int(n) for n, call in SUMMARY.findall(summary.read_text())}
    assert {call: counts[function] for call, function in zip(CALLS, FUNCTIONS, strict=True)} == {
        call: seen[call] for call in CALLS
    }

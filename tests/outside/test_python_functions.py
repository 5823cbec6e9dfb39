"""The example that counts the Python functions of a running process, on the Pythons with DWARF that are here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from multiprobe.kernel.features import Features

EXAMPLE = Path(__file__).parents[2] / "examples/python_functions.py"
VERSIONS = range(9, 15)
PIPE = subprocess.PIPE
WORKLOAD = """
import signal, sys
class Shop:
    def sell(self, n): return inner(n)
def inner(n): return n + 1
def pair():
    yield 1
    yield 2
def descend(n): return n and descend(n - 1)
def negative(n): return -n
print(flush=True)
sys.stdin.read()
for n in range(100):
    Shop().sell(n)
    for _ in pair(): pass
descend(30)
sorted(range(50), key=negative)
print(flush=True)
signal.pause()
"""


def _library(version: int) -> tuple[Path, Path] | None:
    """A Python of this version and its library, if that is a library with DWARF."""
    name = f"libpython3.{version}.so.1.0"
    installed = [*(Path.home() / ".pyenv/versions").glob(f"3.{version}.*/bin/python3")]
    installed += [Path(found) for found in [shutil.which(f"python3.{version}")] if found]
    for python in installed:
        library = python.resolve().parents[1] / "lib" / name
        if not library.exists():
            continue
        sections = subprocess.run(["readelf", "-SW", library], capture_output=True, text=True, check=False).stdout
        if ".debug_info" in sections:
            return python, library
    return None


@pytest.mark.parametrize("version", VERSIONS)
def test_calls_by_name(version: int, tmp_path: Path) -> None:
    pytest.importorskip("elftools", reason="the extra `dwarf` is not installed")
    answer = Features().probe("uprobe_multi")
    if not answer.is_yes:
        pytest.skip(f"this kernel has no uprobe_multi, for this user: {answer.evidence}")
    found = _library(version)
    if found is None:
        pytest.skip(f"no Python 3.{version} here that is a library with DWARF")
    python, library = found
    shutil.copy(library, tmp_path)  # a copy: no other process hits these probes
    environment = {"LD_LIBRARY_PATH": str(tmp_path), "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    workload, example = [python, "-S", "-c", WORKLOAD], [sys.executable, EXAMPLE]
    with subprocess.Popen(workload, env=environment, stdin=PIPE, stdout=PIPE) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdout.readline()
            with subprocess.Popen([*example, str(process.pid)], stdin=PIPE, stdout=PIPE, text=True) as counting:
                assert counting.stdout is not None
                counting.stdout.readline()
                process.stdin.close()
                process.stdout.readline()
                shown, _ = counting.communicate("\n")
        finally:
            process.kill()
    assert counting.returncode == 0
    calls = {name: int(n.replace(",", "")) for n, name in map(str.split, shown.splitlines())}
    sell = "Shop.sell" if version > 10 else "sell"
    resumed = 1 if version > 10 else 3
    known = {sell: 100, "inner": 100, "pair": 100 * resumed, "descend": 31, "negative": 50}
    assert {name: calls.get(name) for name in known} == known

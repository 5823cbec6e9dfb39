"""Programs compute the same while every function of their C library is probed: those that would not are refused."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import multiprobe as mp
from multiprobe.instruments.count import calls, count

pytestmark = [pytest.mark.usefixtures("built"), pytest.mark.once("6.12")]

WORKLOAD = r"""
seq 1 2000 | sort -rn | head -3
awk 'BEGIN { for (i = 0; i < 5; i++) s = s sprintf("%05.2f ", i * 1.37); print s, toupper("abc"), length("hello") }'
trap 'echo caught' USR1; kill -USR1 $$
for i in 1 2 3; do (exit $i); echo $?; done
printf 'b\na\nc\n' | tr a-z A-Z | sed 's/A\|B/x/g'
date -u -d @86400 +%c
tar cf - /etc/apt 2>/dev/null | tar tf - | wc -l
"""


@pytest.fixture
def libc(tmp_path: Path) -> Path:
    """A copy of the C library, in a folder of its own."""
    return Path(shutil.copy(mp.Binary("libc").path, tmp_path / "libc.so.6"))


def output(libc: Path) -> str:
    """What the workload prints with that library."""
    environment = {**os.environ, "LD_LIBRARY_PATH": str(libc.parent), "LC_ALL": "C"}
    return subprocess.run(["sh", "-c", WORKLOAD], env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("when", ["entry", "return"])
def test_every_function_of_the_c_library(libc: Path, when: str) -> None:
    before = output(libc)
    with mp.attach(count, mp.Binary(libc).functions("*"), when=when) as attachment:
        assert attachment.report.attached > 1000
        assert output(libc) == before
        assert sum(attachment.totals(calls)) > 10_000
    assert "caught" in before

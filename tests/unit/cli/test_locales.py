"""Text in the locales of real processes: readable in all of them, and as ASCII where LC_ALL=C says so; no colours."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

FULL = "375 µs … ├─ vfs_read █ é"
ASCII = "375 us ... |- vfs_read # \\xe9"
PROGRAM = f"""
import sys
from multiprobe.cli.main import run
from multiprobe.output.terminal import write_lines
run(["--version"])
write_lines([{FULL!a}], sys.stdout)
"""


@pytest.mark.parametrize(
    ("environment", "encoding", "expected"),
    [
        ({"LC_ALL": "C"}, "ascii", ASCII),
        ({"LC_ALL": "POSIX"}, "ascii", ASCII),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "ascii", ASCII),
        ({"LC_ALL": "C", "PYTHONUTF8": "1"}, "utf-8", FULL),
        ({"LC_ALL": "C.UTF-8"}, "utf-8", FULL),
        ({"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "iso8859-1"}, "iso8859-1", "375 µs ... |- vfs_read # é"),
        ({"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "cp1252"}, "cp1252", "375 µs … |- vfs_read # é"),
    ],
)
def test_text(environment: dict[str, str], encoding: str, expected: str) -> None:
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, env=kept | environment, check=True)
    assert done.stdout.decode(encoding).splitlines()[-1] == expected
    assert b"\x1b" not in done.stdout

"""Tests of the virtual machine from outside: they boot guests, and attach to nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VM = [sys.executable, "-m", "multiprobe", "vm"]
TIME_LIMIT = 800


def processes_of(mark: str) -> dict[int, str]:
    """The command lines of all processes with `mark` in their environment, by process."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (place / "environ").read_bytes() and int(place.name) != os.getpid():
                command = (place / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(place.name)] = command.decode(errors="replace")
        except OSError:  # it ended meanwhile
            continue
    return found


@pytest.fixture
def vm() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run `multiprobe vm ARGUMENTS…` to its end."""

    def run(*arguments: str, stdin: bytes | None = None, **options: object) -> subprocess.CompletedProcess[bytes]:
        given = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        return subprocess.run([*VM, *arguments], capture_output=True, timeout=TIME_LIMIT, **given, **options)  # type: ignore[call-overload]

    return run

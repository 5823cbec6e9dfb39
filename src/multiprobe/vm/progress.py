"""What a guest is waiting for, on standard error: one line that changes on a terminal, else nothing but downloads."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TextIO

from multiprobe.vm.kernels import Progress

_CLEAR = "\r\x1b[K"
_MEGA = 1e6


@contextlib.contextmanager
def shown(stream: TextIO | None = None) -> Iterator[Progress]:
    """A function to report progress to; the line is gone when this is left."""
    target = stream or sys.stderr
    report = _on_terminal(target) if target.isatty() else _in_lines(target)
    try:
        yield report
    finally:
        report("", 0, 0)


def describe(what: str, n: int, total: int) -> str:
    """One line: what, how much of it."""
    return f"{what}: {n / _MEGA:.0f} of {total / _MEGA:.0f} MB" if total else what


def _on_terminal(target: TextIO) -> Progress:
    def report(what: str, n: int, total: int) -> None:
        target.write(_CLEAR + (f"multiprobe: {describe(what, n, total)} …" if what else ""))
        target.flush()

    return report


def _in_lines(target: TextIO) -> Progress:
    """A line for each new thing to do that takes long; booting is not one."""
    last = ""

    def report(what: str, n: int, total: int) -> None:
        nonlocal last
        if what and what != last and not what.startswith(("booting", "trying")):
            print(f"multiprobe: {describe(what, n, total)}", file=target, flush=True)
        last = what or last

    return report

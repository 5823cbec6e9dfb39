"""Checks the process ids that a measurement is restricted to."""

from __future__ import annotations

from multiprobe.errors import UsageError


def require_process(pid: int, *, proc: str = "/proc", may_end: bool = False) -> None:
    """Raise UsageError unless `pid` is a process; with `may_end`, one that is not there is no error."""
    if not isinstance(pid, int) or isinstance(pid, bool) or pid <= 0:
        raise UsageError(f"invalid pid={pid!r}: expected the id of a process")
    try:
        with open(f"{proc}/{pid}/status", "rb") as file:
            text = file.read()
    except OSError:
        if may_end:
            return
        raise UsageError(f"no process has the id {pid}") from None
    leader = next((int(line.split()[1]) for line in text.splitlines() if line.startswith(b"Tgid:")), pid)
    if leader != pid:
        raise UsageError(f"{pid} is a thread of process {leader}", hint=f"use {leader}, the id of the process")

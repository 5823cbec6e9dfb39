"""Reads the load of the CPUs and the time that tasks waited for them: /proc/stat and /proc/pressure (PSI)."""

from __future__ import annotations

import os

STAT = "/proc/stat"
CPU_PRESSURE = "/proc/pressure/cpu"


def parse_busy(text: str, *, ticks: int) -> float | None:
    """Seconds that all CPUs together were not idle since boot, from /proc/stat; None if it isn't there."""
    for line in text.splitlines():
        if line.startswith("cpu "):
            user, nice, system, _idle, _iowait, irq, softirq = map(int, line.split()[1:8])
            return (user + nice + system + irq + softirq) / ticks
    return None


def parse_stalled(text: str) -> float | None:
    """Seconds since boot in which some task waited for a CPU, from /proc/pressure/cpu; None if it isn't there."""
    for line in text.splitlines():
        if line.startswith("some "):
            total = next((word for word in line.split() if word.startswith("total=")), "")
            return int(total.removeprefix("total=")) / 1e6 if total else None
    return None


def load_busy() -> float | None:
    """`parse_busy` of this machine, now."""
    text = _read(STAT)
    return None if text is None else parse_busy(text, ticks=os.sysconf("SC_CLK_TCK"))


def load_stalled() -> float | None:
    """`parse_stalled` of this machine, now; None where the kernel keeps no PSI."""
    text = _read(CPU_PRESSURE)
    return None if text is None else parse_stalled(text)


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError:
        return None

"""Reads the number of possible CPUs, which per-CPU maps are sized for."""

from __future__ import annotations

from multiprobe.errors import RESOURCES, DataError

POSSIBLE = "/sys/devices/system/cpu/possible"


def load_n_cpus(path: str = POSSIBLE) -> int:
    """The number of possible CPUs (the highest number plus one)."""
    try:
        with open(path, encoding="ascii") as file:
            return parse_n_cpus(file.read())
    except OSError as error:
        if error.errno in RESOURCES:
            raise
        raise DataError(f"{path} can't be read: {error.strerror}", hint="is sysfs mounted on /sys?") from error


def parse_n_cpus(text: str) -> int:
    """One more than the highest CPU of a list such as "0-3,8"."""
    try:
        return max(int(part.rpartition("-")[2]) for part in text.strip().split(",")) + 1
    except ValueError as error:
        raise DataError(f"not a list of CPUs: {text.strip()!r}") from error

"""Reads how much memory the cgroups of this process leave it (cgroup v2).

Where a limit is reached in the middle of a large allocation, a kernel may kill the process instead of refusing (seen on
7.3): so maps are compared with the limit before they are made.
"""

from __future__ import annotations

import os

ROOT = "/sys/fs/cgroup"
OWN = "/proc/self/cgroup"


def load_bytes_left() -> int | None:
    """Bytes that all cgroups of this process leave it; None without a limit, or where it can't be read.

    Cached files of a cgroup count as left: the kernel gives them up.
    """
    try:
        place = parse_own(_read(OWN))
    except OSError:
        return None
    found = []
    while True:
        left = _left_in(os.path.join(ROOT, place))
        found += [] if left is None else [left]
        if not place:
            return min(found, default=None)
        place = os.path.dirname(place)


def parse_own(text: str) -> str:
    """The cgroup of version 2 in /proc/self/cgroup, relative to the root; "" where there is none, or it isn't seen."""
    for line in text.splitlines():
        if line.startswith("0::/"):
            path = line.removeprefix("0::/")
            return "" if ".." in path.split("/") else path  # outside of this cgroup namespace
    return ""


def _left_in(directory: str) -> int | None:
    try:
        limit, used, stat = (_read(os.path.join(directory, f"memory.{name}")) for name in ("max", "current", "stat"))
        if limit.strip() == "max":
            return None
        cached = dict(line.split() for line in stat.splitlines())["file"]
        return max(0, int(limit) - int(used) + int(cached))
    except (OSError, ValueError, KeyError):
        return None


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()

"""Reads how much memory is available, and how much the kernel uses for itself: /proc/meminfo."""

from __future__ import annotations

MEMINFO = "/proc/meminfo"
_KERNELS_OWN = ("VmallocUsed", "SUnreclaim", "Percpu")


def load_meminfo() -> dict[str, int]:
    """/proc/meminfo in bytes, by name; empty where it can't be read."""
    try:
        with open(MEMINFO, encoding="ascii") as file:
            return parse_meminfo(file.read())
    except OSError:
        return {}


def parse_meminfo(text: str) -> dict[str, int]:
    """The lines in kB, in bytes."""
    fields = (line.split() for line in text.splitlines())
    return {words[0].rstrip(":"): 1024 * int(words[1]) for words in fields if words[2:] == ["kB"]}


def kernel_bytes_used(meminfo: dict[str, int]) -> int:
    """What the kernel allocated for itself and can't give back on demand: vmalloc, slabs, per-CPU memory."""
    return sum(meminfo.get(name, 0) for name in _KERNELS_OWN)

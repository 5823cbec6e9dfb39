"""What the kernel says that it allocated, for tests and measurements of what is predicted."""

from __future__ import annotations

import re
from pathlib import Path

import multiprobe as mp
from multiprobe.maps.memory import HASH_ELEMENT
from multiprobe.maps.set_spec import MapSetSpec
from multiprobe.maps.store import MapSet

GUARD_PAGE = 4096


def map_bytes() -> dict[int, int]:
    """Of each map that this process has open, by id."""
    found = {}
    for entry in Path("/proc/self/fdinfo").iterdir():
        try:
            facts = dict(re.findall(r"^(\w+):\s+(\S+)$", entry.read_text(), re.M))
        except OSError:  # the descriptor that the directory is read by
            continue
        if "map_id" in facts:
            found[int(facts["map_id"])] = int(facts["memlock"])
    return found


def counts_maps() -> bool:
    """Whether that is all of a map: kernels before 6.4 multiply entries with the sizes of key and value."""
    before = map_bytes()
    with MapSet(MapSetSpec((mp.Hash(mp.u64, mp.u64, 1000),), n_functions=1, n_cpus=1)):
        largest = max(size for number, size in map_bytes().items() if number not in before)
    return largest >= 1000 * (HASH_ELEMENT + 16)


def pool_bytes() -> int:
    """All pools of return nodes; those that are freed lazily not counted."""
    areas = re.findall(r"^\S+ +(\d+) (rethook_alloc|objpool_init)\+", Path("/proc/vmallocinfo").read_text(), re.M)
    return sum(int(size) - GUARD_PAGE for size, _ in areas)

"""Switches from one instance of a program to another, CPU by CPU, without losing a call.

Both instances are attached for a while, and each reads its CPU's word to find out whether it is active. If one word
served all CPUs, it could change between the two programs of one call, which would then be counted twice or not at all.
So every CPU's word is written on that CPU: while the writer runs there, no probe does. (Programs of a trampoline may be
preempted between one another; those of kprobe.multi may not.)
"""

from __future__ import annotations

import os
from struct import pack_into
from typing import TYPE_CHECKING

from multiprobe.maps.layout import CACHE_LINE
from multiprobe.maps.maps import SharedArray

if TYPE_CHECKING:
    from collections.abc import Collection


def switch_size(n_cpus: int) -> int:
    """Bytes of a switch."""
    return n_cpus * CACHE_LINE


class Switch:
    """A word for each possible CPU, in memory shared with the kernel: the generation that acts there, 0 for none."""

    def __init__(self, n_cpus: int) -> None:
        self.n_cpus = n_cpus
        self.generation = 0
        self._table = SharedArray(switch_size(n_cpus), name="switch")

    def values(self, generation: int) -> dict[str, int]:
        """The numbers to link an instance of that generation with."""
        return {"switch": self._table.fd.fileno(), "switch.limit": self._table.size - 8, "generation": generation}

    def turn(self, generation: int) -> None:
        """Let the instances of that generation act, and no others."""
        allowed = os.sched_getaffinity(0)
        try:
            for cpu in range(self.n_cpus):
                _move_to({cpu})  # one that is offline, or not ours to use, is written from elsewhere
                pack_into("<Q", self._table.memory, cpu * CACHE_LINE, generation)
        finally:
            _move_to(allowed)
        self.generation = generation

    def close(self) -> None:
        """Give the memory back."""
        self._table.close()


def _move_to(cpus: Collection[int]) -> bool:
    try:
        os.sched_setaffinity(0, cpus)
    except OSError:
        return False
    return True

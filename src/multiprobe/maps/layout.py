"""Computes the memory layout of maps, and the numbers that programs are linked with. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from multiprobe.errors import UsageError
from multiprobe.maps.specs import MAX_VALUE_BYTES, Array, Hash, MapSpec, PerFunction
from multiprobe.plurals import plural_text

CACHE_LINE = 64

CONTROL_SIZE = 64
ACTIVE, FULL_MAPS, OUT_OF_RANGE, FAILED_READS, CUT_LOOPS = 0, 8, 16, 24, 32
UNPAIRED_ENTRIES, UNPAIRED_RETURNS, OWN = 40, 48, 56
"""Offsets in the control map: whether the programs run at all, and what they lost: writes to full maps, writes
outside of an array, failed reads of kernel memory, loops cut off at their limit, and sides of sessions without the
other one; and two process ids of 4 bytes, the front end and its watchdog. 8 bytes each."""
LOSSES = {
    "full_maps": FULL_MAPS,
    "out_of_range": OUT_OF_RANGE,
    "failed_reads": FAILED_READS,
    "cut_loops": CUT_LOOPS,
    "unpaired_entries": UNPAIRED_ENTRIES,
    "unpaired_returns": UNPAIRED_RETURNS,
}

MAX_PIDS = 1 << 22
"""Process ids are below this (include/linux/threads.h: PID_MAX_LIMIT)."""

SESSION_BITS = 15
SESSION_SIZE = 32
SESSIONS_SIZE = SESSION_SIZE << SESSION_BITS
SESSION_FRAME, SESSION_OWNER, SESSION_VALUE = 0, 8, 16
"""The table of calls under way, for sessions that two programs make together: records of SESSION_SIZE bytes, each with
the address of the call's frame (0: free), its function and the session's 8 bytes."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A map's sizes in bytes. One that `is_mapped` has a single entry of `value_size` bytes, which is mapped into
    this process: `rows` rows of `row_size` bytes, each with `slots` slots of the spec's type (and padding). A hash
    table has `rows` values for each key, one a CPU, which system calls give in `row_size` bytes.
    """

    key_size: int
    value_size: int
    max_entries: int
    is_mapped: bool
    rows: int = 1
    row_size: int = 0
    slots: int = 0


def layout(spec: MapSpec, n_functions: int, n_cpus: int) -> Layout:
    """Where everything lies when the map serves `n_functions` functions on `n_cpus` possible CPUs.

    Raises UsageError when that is more than a program can reach.
    """
    own = spec.layout(n_functions, n_cpus)
    if isinstance(own, Layout):
        return own
    if isinstance(spec, Hash):
        rows, row_size = (n_cpus, n_cpus * _eights(spec.value.size)) if spec.per_cpu else (1, spec.value.size)
        return Layout(spec.key_size, spec.value.size, spec.max_entries, False, rows, row_size)
    if isinstance(spec, PerFunction):
        return per_cpu_layout(spec, n_functions + 1, n_functions, n_cpus)  # slot 0: a function that isn't known
    assert isinstance(spec, Array)
    if spec.per_cpu:
        return per_cpu_layout(spec, spec.size, n_functions, n_cpus)
    size = spec.size * spec.value.size
    return Layout(4, _eights(size), 1, True, 1, size, spec.size)


def per_cpu_layout(spec: MapSpec, slots: int, n_functions: int, n_cpus: int) -> Layout:
    """A row of `slots` for each CPU; no two of them share a cache line."""
    row_size = _padded(slots * spec.value.size)
    size = n_cpus * row_size
    if size > MAX_VALUE_BYTES:
        raise UsageError(
            f"{spec!r} for {plural_text(n_functions, 'function')} on {plural_text(n_cpus, 'CPU')} takes "
            f"{size >> 20} MB, and a program can reach {MAX_VALUE_BYTES >> 20} MB",
            hint="choose fewer functions, or a narrower type",
        )
    return Layout(4, size, 1, True, n_cpus, row_size, slots)


def constants(spec: MapSpec, made: Layout, key: str, *, n_functions: int) -> dict[str, int]:
    """The numbers that a program needs about the map that its code calls `key`."""
    if not made.is_mapped or (isinstance(spec, Array) and not spec.per_cpu):
        return {}
    return {
        f"{key}.stride": made.row_size // spec.value.size,
        f"{key}.limit": made.value_size // spec.value.size - 1,
        "n_functions": n_functions,
    }


def _padded(size: int) -> int:
    return -(-size // CACHE_LINE) * CACHE_LINE


def _eights(size: int) -> int:
    return -(-size // 8) * 8

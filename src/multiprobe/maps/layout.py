"""Computes the memory layout of maps, and the numbers that programs are linked with. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from multiprobe.errors import UsageError
from multiprobe.maps.rows import CACHE_LINE as CACHE_LINE
from multiprobe.maps.rows import SHARED_BYTES, TABLE, HotRows, mask_of, padded, shared_rows
from multiprobe.maps.specs import MAX_VALUE_BYTES, Array, Hash, MapSpec, PerFunction
from multiprobe.plurals import plural_text

if TYPE_CHECKING:
    from collections.abc import Mapping

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

LOST_SIZE = 64
"""Of the map beside a ring buffer, or beside stacks, in which programs count what was lost."""

MAX_PIDS = 1 << 22
"""Process ids are below this (include/linux/threads.h: PID_MAX_LIMIT)."""

SESSION_BITS = 15
SESSION_SIZE = 32
SESSIONS_SIZE = SESSION_SIZE << SESSION_BITS
SESSION_FRAME, SESSION_OWNER, SESSION_VALUE = 0, 8, 16
"""The table of calls under way, for sessions that two programs make together: records of SESSION_SIZE bytes, each with
the address of the call's frame (0: free), its function and the session's 8 bytes."""


class Layout(NamedTuple):
    """A map's sizes in bytes. One that `is_mapped` has a single entry of `value_size` bytes, which is mapped into
    this process: `rows` rows of `row_size` bytes, each with `slots` slots of the spec's type (and padding). A hash
    table has `rows` values for each key, one a CPU, which system calls give in `row_size` bytes. With
    `hot_rows`, the only row is that of the totals, which readers make.
    """

    key_size: int
    value_size: int
    max_entries: int
    is_mapped: bool
    rows: int = 1
    row_size: int = 0
    slots: int = 0
    hot_rows: HotRows | None = None


def layout(spec: MapSpec, n_functions: int, n_cpus: int) -> Layout:
    """Where everything lies when the map serves `n_functions` functions on `n_cpus` possible CPUs.

    Raises UsageError when that is more than a program can reach.
    """
    own = spec.layout(n_functions, n_cpus)
    if isinstance(own, Layout):
        return own
    if isinstance(spec, Hash):
        rows, row_size = (n_cpus, n_cpus * eights(spec.value.size)) if spec.per_cpu else (1, spec.value.size)
        return Layout(spec.key_size, spec.value.size, spec.max_entries, False, rows, row_size)
    if isinstance(spec, PerFunction):
        slots = n_functions + 1  # slot 0: a function that isn't known
        if spec.shared:
            n_cpus = shared_rows(padded(slots * spec.value.size), n_cpus, SHARED_BYTES)
        return rows_layout(spec, slots, n_functions, n_cpus)
    assert isinstance(spec, Array)
    if spec.per_cpu:
        return rows_layout(spec, spec.size, n_functions, n_cpus)
    size = spec.size * spec.value.size
    return Layout(4, eights(size), 1, True, 1, size, spec.size)


def find_hot_maps(specs: Mapping[str, MapSpec], n_functions: int, n_cpus: int) -> tuple[str, ...]:
    """The names of the maps that have hot rows when they serve so many functions on so many CPUs."""
    return tuple(sorted(name for name, spec in specs.items() if layout(spec, n_functions, n_cpus).hot_rows))


def rows_layout(spec: MapSpec, slots: int, n_functions: int, n_rows: int) -> Layout:
    """`n_rows` rows of `slots`, one a CPU if there are as many; no two of them share a cache line."""
    row_size = padded(slots * spec.value.size)
    _require_reachable(spec, n_rows * row_size, n_functions, n_rows)
    return Layout(4, n_rows * row_size, 1, True, n_rows, row_size, slots)


def hot_layout(spec: MapSpec, slots: int, n_functions: int, hot: HotRows) -> Layout:
    """Cold and hot rows, of which readers see one row of `slots` totals."""
    _require_reachable(spec, hot.end, n_functions, 1)
    return Layout(4, hot.end, 1, True, 1, padded(slots * spec.value.size), slots, hot)


def _require_reachable(spec: MapSpec, size: int, n_functions: int, n_rows: int) -> None:
    if size > MAX_VALUE_BYTES:
        on_cpus = f" on {plural_text(n_rows, 'CPU')}" if n_rows > 1 else ""
        raise UsageError(
            f"{spec!r} for {plural_text(n_functions, 'function')}{on_cpus} takes "
            f"{size >> 20} MB, and a program can reach {MAX_VALUE_BYTES >> 20} MB",
            hint="choose fewer functions, or a narrower type",
        )


def constants(spec: MapSpec, made: Layout, key: str, *, n_functions: int) -> dict[str, int]:
    """The numbers that a program needs about the map that its code calls `key`."""
    if not made.is_mapped or (isinstance(spec, Array) and not spec.per_cpu):
        return {}
    size = spec.value.size
    found = {f"{key}.limit": made.value_size // size - 1, "n_functions": n_functions}
    if made.hot_rows is None:
        return found | {f"{key}.stride": made.row_size // size, f"{key}.mask": mask_of(made.rows)}
    hot = made.hot_rows
    return found | {
        f"{key}.stride": hot.size // size,
        f"{key}.mask": mask_of(hot.rows),
        f"{key}.table": TABLE // 4 + n_functions,
        f"{key}.n_hot": hot.n,
        f"{key}.cold": hot.cold // size,
        f"{key}.hot": hot.hot // size,
    }


def eights(size: int) -> int:
    """`size` in whole words of 8 bytes."""
    return -(-size // 8) * 8

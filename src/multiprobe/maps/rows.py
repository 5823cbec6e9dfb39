"""How values by function are divided among CPUs: the one place that weighs memory against CPUs that share a row.

Where there is room, every CPU has a row of its own, and no two ever write to one cache line. Rows by CPU grow with
functions × CPUs, so above a limit CPUs share rows: CPU n writes to row n & mask. Programs add atomically, so counts are
exact in both. Pure.
"""

from __future__ import annotations

from typing import NamedTuple

CACHE_LINE = 64

SHARED_BYTES = 4_000_000
"""Of a PerFunction whose rows may be shared: as many rows as fit, 8 for 50,000 counters of 8 bytes."""
HISTOGRAM_BYTES = 28_000_000
"""Of a Histogram by function: above it, only functions that are called have rows for several CPUs."""
HOT_ROWS = 8
"""Rows of a function that is called, at most."""

USED, TABLE = 0, CACHE_LINE
"""Offsets in a Histogram with hot rows: how many functions asked for hot rows, and the table of functions."""


class HotRows(NamedTuple):
    """A Histogram's rows where not every CPU can have one for every function. Offsets and sizes in bytes:

        USED      how many functions asked for hot rows, 4 bytes
        TABLE     for each function (the unknown one first) 4 bytes: 0 before its first call, then its number from 1 on
        cold      a row for each function, which all CPUs share
        hot       for CPUs with equal `cpu & mask`, rows for `n` functions; so `rows` times, `size` bytes each

    A function's number is given out at its first call. Up to `n`, it has hot rows from then on. With a larger number
    it keeps to its cold row: nothing is lost when the hot rows run out, only more CPUs share a row. A function's counts
    are those of its cold row and of its hot rows together.
    """

    n: int
    rows: int
    cold: int
    hot: int
    size: int

    @property
    def end(self) -> int:
        """The bytes of all."""
        return self.hot + self.rows * self.size


def shared_rows(row_size: int, n_cpus: int, room: int) -> int:
    """How many rows of `row_size` bytes the CPUs share in `room` bytes: one a CPU, or a power of two, at least 1."""
    fitting = max(1, room // row_size)
    return n_cpus if n_cpus <= fitting else 1 << fitting.bit_length() - 1


def mask_of(n_rows: int) -> int:
    """CPU n has row `n & mask`."""
    return (1 << (n_rows - 1).bit_length()) - 1


def hot_rows(histogram_size: int, n_functions: int, n_cpus: int) -> HotRows | None:
    """The rows of histograms of `histogram_size` bytes by function, in HISTOGRAM_BYTES if the cold rows leave room.

    None if there is room for every CPU's histogram of every function.
    """
    if n_cpus == 1 or n_cpus * (n_functions + 1) * histogram_size <= HISTOGRAM_BYTES:
        return None
    cold = TABLE + padded(4 * (n_functions + 1))
    hot = cold + padded((n_functions + 1) * histogram_size)
    rows = n_cpus if n_cpus <= HOT_ROWS else HOT_ROWS
    n = max(0, min(n_functions + 1, (HISTOGRAM_BYTES - hot) // rows // histogram_size - 1))
    return HotRows(n, rows, cold, hot, padded(n * histogram_size))


def padded(size: int) -> int:
    """`size` in whole cache lines."""
    return -(-size // CACHE_LINE) * CACHE_LINE

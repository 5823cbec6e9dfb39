"""Rows that CPUs share, and hot rows: how much memory maps take on large machines, and that nothing overlaps in it."""

from __future__ import annotations

import pytest

import multiprobe as mp
from multiprobe.instruments.count import count
from multiprobe.instruments.errors.program import make_program
from multiprobe.instruments.graph.program import GraphProbe
from multiprobe.instruments.latency.program import LatencyProbe
from multiprobe.instruments.stacks.program import StacksProbe
from multiprobe.maps import rows
from multiprobe.maps.layout import constants, find_hot_maps, layout
from multiprobe.maps.memory import map_bytes, set_bytes
from multiprobe.maps.rows import CACHE_LINE, TABLE, HotRows, hot_rows, mask_of, shared_rows
from multiprobe.maps.set_spec import MapSetSpec

ALL, LARGEST = 50_000, 256


class Pair(mp.Event):
    one: mp.u64
    other: mp.u64


TABLES = 3_100_000
"""Of the attachment, above all the one that finds all functions by address."""
LIMIT = 64_000_000 - TABLES
HISTOGRAM = 528
COMMANDS = {
    "count": count,
    "latency": LatencyProbe().program,
    "latency --self": LatencyProbe(has_self=True).program,
    "latency --by process": LatencyProbe(by="process").program,
    "latency --by thread --self": LatencyProbe(by="thread", has_self=True).program,
    "errors": make_program(),
    "errors --each": make_program(n_arguments=6, is_each=True),
    "errors --live": make_program(n_arguments=6),
    "graph": GraphProbe(max_events=200_000).program,
    "stacks": StacksProbe(has_user=True, is_timed=True).program,
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("n_cpus", [2, 21, 128, LARGEST])
def test_all_functions_of_a_kernel_on_any_machine(command: str, n_cpus: int) -> None:
    assert set_bytes(MapSetSpec(tuple(COMMANDS[command].maps.values()), ALL, n_cpus)) <= LIMIT


@pytest.mark.parametrize(
    ("n_cpus", "room", "n"), [(1, 0, 1), (6, 600, 6), (6, 599, 4), (256, 1000, 8), (256, 99, 1), (256, 25_600, 256)]
)
def test_as_many_rows_as_fit_are_shared(n_cpus: int, room: int, n: int) -> None:
    assert shared_rows(100, n_cpus, room) == n
    used = {cpu & mask_of(n) for cpu in range(n_cpus)}
    assert used == set(range(n)), "every row is a CPU's, and every CPU has one"


def test_small_machines_have_a_row_for_each_cpu() -> None:
    made = layout(mp.PerFunction(mp.u64, shared=True), ALL, 8)
    assert made == layout(mp.PerFunction(mp.u64), ALL, 8)
    assert made.rows == 8
    assert layout(mp.Histogram(per_function=True), 1000, 32).hot_rows is None


def test_a_map_that_is_not_shared_has_a_row_for_each_cpu_anywhere() -> None:
    assert layout(mp.PerFunction(mp.u64), ALL, LARGEST).rows == LARGEST


@pytest.mark.parametrize("n_functions", [600, 10_000, ALL, 70_000])
@pytest.mark.parametrize("n_cpus", [2, 6, 32, LARGEST])
def test_hot_rows_lie_behind_the_table_and_the_cold_rows(n_functions: int, n_cpus: int) -> None:
    hot = hot_rows(HISTOGRAM, n_functions, n_cpus)
    if hot is None:
        assert n_cpus * (n_functions + 1) * HISTOGRAM <= rows.HISTOGRAM_BYTES
        return
    assert hot.cold >= TABLE + 4 * (n_functions + 1)
    assert hot.hot >= hot.cold + (n_functions + 1) * HISTOGRAM
    assert hot.size >= hot.n * HISTOGRAM
    assert not any(offset % CACHE_LINE for offset in (hot.cold, hot.hot, hot.size))
    assert {cpu & mask_of(hot.rows) for cpu in range(n_cpus)} == set(range(hot.rows))
    if hot.n:
        assert hot.end <= rows.HISTOGRAM_BYTES
        assert min(n_functions, 300) <= hot.n <= n_functions + 1


def test_without_room_for_hot_rows_all_cpus_share_the_cold_ones() -> None:
    hot = hot_rows(HISTOGRAM, 100_000, 4)
    assert hot is not None
    assert (hot.n, hot.end) == (0, hot.hot)


def test_programs_are_linked_with_the_places_of_hot_rows() -> None:
    spec = mp.Histogram(per_function=True)
    made = layout(spec, ALL, 32)
    assert isinstance(made.hot_rows, HotRows)
    numbers = constants(spec, made, "map1", n_functions=ALL)
    assert numbers["map1.limit"] == made.value_size // 8 - 1
    assert numbers["map1.table"] == TABLE // 4 + ALL
    assert 8 * (numbers["map1.hot"] + 7 * numbers["map1.stride"] + numbers["map1.n_hot"] * 66) <= made.value_size
    assert all(number < 1 << 31 for number in numbers.values())
    assert find_hot_maps({"b": spec, "a": mp.PerFunction(mp.u64), "c": mp.Histogram()}, ALL, 32) == ("b",)


def test_a_table_that_forgets_is_always_preallocated() -> None:
    with pytest.raises(mp.UsageError, match="always preallocated"):
        mp.LruHash(mp.u32, mp.u64, preallocated=False)


def test_what_the_kernel_allocates_for_each_kind() -> None:
    def taken(spec: mp.maps.MapSpec) -> int:
        return map_bytes(spec, layout(spec, 10, 4), 4)

    assert taken(mp.Array(mp.u32, 1024)) == 4096 + 4096
    assert taken(mp.Array(mp.u32, 1025)) == 4096 + 2 * 4096
    assert taken(mp.PerFunction(mp.u64)) == 4096 + 4096
    assert taken(mp.PerTask(mp.u64)) == 0
    assert taken(mp.Hash(mp.u32, mp.u64, 1000)) == 1024 * 16 + 1004 * 64
    assert taken(mp.Hash(mp.u32, mp.u64, 1000, per_cpu=True)) == 1024 * 16 + 1000 * (56 + 8 + 4 * 8)
    assert taken(mp.Hash(mp.u32, mp.u64, 1000, preallocated=False)) == 1024 * 16
    assert taken(mp.LruHash(mp.u32, mp.u64, 1000)) == 1024 * 16 + 1000 * 64
    lost = 4096 + 4096
    assert taken(mp.StackTraces(depth=10, max_entries=64)) == 64 * (8 + 24 + 80) + lost
    assert taken(mp.StackTraces(depth=10, max_entries=33)) == 64 * 8 + 33 * (24 + 80) + lost
    ring = mp.RingBuffer(Pair, size=1 << 20)
    assert taken(ring) == (1 << 20) + 3 * 4096 + (3 + 2 * 256) * 8 + lost

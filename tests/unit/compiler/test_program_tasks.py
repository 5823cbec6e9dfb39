"""Values by task in programs, on the test machine."""

from __future__ import annotations

import pytest
from runner import Bench

import multiprobe as mp
from multiprobe.errors import CompileError, UsageError

depth = mp.PerTask(mp.u32)
last = mp.PerTask(mp.i16)
longest = mp.PerTask(mp.u64)
seen = mp.Array(mp.i64, 4)


@mp.program
def use(ctx):
    seen[0] = depth[ctx.task]
    seen[1] = ctx.task in depth
    depth[ctx.task] += 1
    last[ctx.task] = ctx.arg(0)
    seen[2] = last[ctx.task]
    longest[ctx.task] = max(longest[ctx.task], ctx.arg(1))
    if ctx.arg(2):
        del depth[ctx.task]


def of(task: int) -> bytes:
    return task.to_bytes(8, "little")


def test_each_task_has_a_value_that_is_0_at_first() -> None:
    bench = Bench(use)
    bench.hit(-5, 9, 0, task_btf=70)
    first = bench.array("seen")
    bench.hit(40_000, 3, 0, task_btf=70).hit(7, 1, 0, task_btf=71)
    bench.hit(7, 1, 0, task_btf=70)
    assert first == [0, 0, -5, 0]
    assert bench.array("seen") == [2, 1, 7, 0]
    assert bench.table("depth") == {of(70): 3, of(71): 1}
    assert bench.table("longest") == {of(70): 9, of(71): 1}
    assert bench.losses() == {}


def test_a_deleted_value_is_0_again() -> None:
    bench = Bench(use).hit(0, 0, 1, task_btf=70)
    assert bench.table("depth") == {}
    assert bench.hit(0, 0, 0, task_btf=70).array("seen")[:2] == [0, 0]


def test_a_deletion_during_another_access_is_counted() -> None:
    bench = Bench(use).hit(0, 0, 0, task_btf=70)
    find = bench.machine._storage
    bench.machine._storage = lambda number, r: -16 if number == 157 else find(number, r)
    assert bench.hit(0, 0, 1, task_btf=70).losses() == {"full_maps": 1}


@mp.program
def read_only(ctx):
    seen[0] = depth[ctx.task] + (ctx.task in depth)


def test_reading_gives_a_task_no_value() -> None:
    assert Bench(read_only).hit(task_btf=70).table("depth") == {}


def test_a_value_that_the_kernel_has_no_memory_for_is_counted() -> None:
    bench = Bench(use)
    for table in bench.machine.tables.values():
        table.max_entries = 0
    assert bench.hit(1, 1, 0, task_btf=70).losses() == {"full_maps": 3}


@mp.program
def by_number(ctx):
    depth[ctx.tid] += 1


@mp.program
def by_other_pointer(ctx):
    depth[ctx.task.group_leader] += 1


@pytest.mark.parametrize("program", [by_number, by_other_pointer])
def test_the_only_key_is_the_current_task(program: mp.Program) -> None:
    with pytest.raises(CompileError, match="the only key of this map is the current task") as caught:
        Bench(program)
    assert caught.value.hint == "m[ctx.task]"


def test_values_are_integers() -> None:
    with pytest.raises(UsageError, match="is not an integer type"):
        mp.PerTask(mp.string(8))
    assert repr(depth) == "PerTask(u32)"

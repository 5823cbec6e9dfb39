"""Which accesses of a hash table share a lookup, and that those which must not don't, on the test machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from runner import Bench

import multiprobe as mp

if TYPE_CHECKING:
    from multiprobe.compiler.program import Program

table = mp.Hash(mp.u64, mp.u64, 8)
seen = mp.Array(mp.u64, 4)


@mp.program
def read_and_add(ctx):
    key = ctx.arg(0)
    seen[0] = table[key]
    table[key] += 5


@mp.program
def by_process(ctx):
    table[ctx.pid] += 5 - table[ctx.pid]


@mp.program
def read_added(ctx):
    key = ctx.arg(0)
    seen[0] = table[key]
    table[key] += 5
    seen[1] = table[key]


@mp.program
def other_key(ctx):
    key = ctx.arg(0)
    seen[0] = table[key]
    key += 1
    table[key] += 5


@mp.program
def same_key_by_another_name(ctx):
    key, twin = ctx.arg(0), ctx.arg(1)
    seen[0] = table[key]
    table[twin] += 5
    seen[1] = table[key]


@mp.program
def in_a_branch(ctx):
    key = ctx.arg(0)
    if ctx.arg(1):
        seen[0] = table[key]
    table[key] += 5


@mp.program
def around_a_loop(ctx):
    key = ctx.arg(0)
    for i in range(3):
        seen[i] = table[key]
        table[key] += 5


@mp.program
def keys_that_are_deleted(ctx):
    key = ctx.arg(0)
    seen[0] = table[key]
    table[key] += 5
    if ctx.arg(1):
        del table[key]


@mp.program
def by_time(ctx):
    seen[0] = table[ctx.time]
    table[ctx.time] += 5


@mp.helper
def value_of(key):
    found = table[key]
    return found + 1


@mp.helper
def value_unless(key, is_zero):
    if is_zero:
        return 0
    return table[key]


@mp.program
def by_helpers(ctx):
    key = ctx.pid
    seen[0] = value_of(key) + table[ctx.pid]
    table[ctx.pid] += 5


@mp.program
def helper_with_two_keys(ctx):
    seen[0] = value_of(ctx.arg(0))
    seen[1] = value_of(ctx.arg(1))
    table[ctx.arg(0)] += 5


@mp.program
def helper_that_may_leave(ctx):
    seen[0] = value_unless(ctx.pid, ctx.arg(0))
    seen[1] = table[ctx.pid]
    table[ctx.pid] += 5


@mp.helper
def asked_early(ctx, is_zero):
    pid = ctx.pid
    for i in range(4):
        if i == is_zero:
            return 0
    return pid + ctx.cpu


@mp.program
def around_helpers(ctx):
    seen[0] = asked_early(ctx, ctx.arg(0))
    seen[1] = ctx.pid
    seen[2] = ctx.cpu


def lookups(program: Program, *hits: tuple[int, ...]) -> tuple[int, Bench]:
    """How many times the program looked keys up in its last hit."""
    bench = Bench(program)
    asked: list[int] = []
    answer = bench.machine._table
    bench.machine._table = lambda number, r: asked.append(number) or answer(number, r)
    for arguments in hits:
        asked.clear()
        bench.hit(*arguments)
    return asked.count(1), bench


@pytest.mark.parametrize(("program", "n"), [(read_and_add, 1), (by_process, 1), (in_a_branch, 2), (around_a_loop, 3)])
def test_lookups_of_a_key_that_is_there(program: Program, n: int) -> None:
    assert lookups(program, (3, 1), (3, 1))[0] == n


@pytest.mark.parametrize(("program", "n"), [(other_key, 2), (keys_that_are_deleted, 2), (by_time, 2)])
def test_what_may_be_another_entry_is_looked_up(program: Program, n: int) -> None:
    assert lookups(program, (3, 0), (3, 0))[0] == n


def test_what_a_helper_calculated_in_any_case_serves_what_follows() -> None:
    bench = Bench(around_helpers)
    calls = [bench.code.insns[at + 4] for at in range(0, len(bench.code.insns), 8) if bench.code.insns[at] == 0x85]
    assert (calls.count(14), calls.count(8)) == (1, 2), "the process once, the CPU again where the helper left before"
    assert bench.hit(0, pid_tgid=7 << 32, cpu=3).array("seen")[:3] == [0, 7, 3]
    assert bench.hit(9, pid_tgid=7 << 32, cpu=3).array("seen")[:3] == [10, 7, 3]


def test_helpers_look_up_what_they_are_asked_for() -> None:
    assert lookups(by_helpers, (0,))[1].array("seen")[0] == 1
    n, bench = lookups(helper_with_two_keys, (3, 4), (3, 4), (4, 3))
    assert n == 3
    assert bench.array("seen")[:2] == [1, 11]
    for hits, expected in (((0,), (0,)), [5, 5]), (((1,), (1,)), [0, 5]):
        assert lookups(helper_that_may_leave, *hits)[1].array("seen")[:2] == expected


def test_a_key_that_was_not_there_is_inserted_once() -> None:
    n, bench = lookups(read_and_add, (3,))
    assert n == 1
    assert bench.array("seen")[0] == 0
    assert bench.hit(3).array("seen")[0] == 5
    assert bench.table("table") == {(3).to_bytes(8, "little"): 10}


def test_what_the_program_adds_is_seen() -> None:
    assert lookups(read_added, (3,))[1].array("seen")[:2] == [0, 5]
    assert lookups(around_a_loop, (3,))[1].array("seen")[:3] == [0, 5, 10]
    assert lookups(same_key_by_another_name, (3, 3))[1].array("seen")[:2] == [0, 5]


def test_another_cpu_may_insert_between_lookup_and_update() -> None:
    bench = Bench(read_and_add)
    answer, key = bench.machine._table, (3).to_bytes(8, "little")

    def insert_first(number: int, r: list[int]) -> int:
        if number == 2:
            bench.machine._table = answer
            bench.machine.tables[bench._fd("table")].places[key] = bench.machine.put((7).to_bytes(8, "little"))
        return answer(number, r)

    bench.machine._table = insert_first
    bench.hit(3)
    assert bench.table("table") == {key: 12}
    assert bench.losses() == {}


def test_a_full_table_is_counted() -> None:
    _, bench = lookups(read_and_add, *((key,) for key in range(9)))
    assert bench.losses() == {"full_maps": 1}

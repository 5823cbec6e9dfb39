"""Which accesses of a hash table share a lookup, and that those which must not don't, on the test machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from runner import Bench

import multiprobe as mp
from multiprobe.errors import UsageError
from multiprobe.maps.specs import RowHash

if TYPE_CHECKING:
    from multiprobe.compiler.program import Program

table = mp.Hash(mp.u64, mp.u64, 8)
rows = RowHash((mp.u64, mp.u64), mp.u64, 8, width=3)
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


@mp.program
def fill_row(ctx):
    key, place = ctx.arg(0), ctx.arg(1)
    rows[key, key, 0] += 1
    rows[key, key, place] += 10
    rows[key, key, 2] = max(rows[key, key, 2], key)
    seen[0] = rows[key, key, 0]


@mp.program
def read_rows(ctx):
    seen[0] = rows[ctx.arg(0), 1, 1] + rows[ctx.arg(0), 1, 2]


def row(bench: Bench, *key: int) -> list[int]:
    found = bench.table("rows")[b"".join(part.to_bytes(8, "little") for part in key)]
    return [found >> 64 * place & (1 << 64) - 1 for place in range(3)]


def test_a_row_is_looked_up_once() -> None:
    n, bench = lookups(fill_row, (5, 1), (5, 1))
    assert n == 1
    assert row(bench, 5, 5) == [2, 20, 5]
    assert bench.array("seen")[0] == 2
    assert lookups(fill_row, (5, 1))[0] == 2  # the second time it is there


def test_rows_of_a_full_table_are_counted() -> None:
    _, bench = lookups(fill_row, *((key, 1) for key in range(9)))
    assert len(bench.table("rows")) == 8
    assert bench.losses() == {"full_maps": 3}


@pytest.mark.parametrize("place", [3, 1 << 40])
def test_places_outside_of_a_row_are_counted(place: int) -> None:
    _, bench = lookups(fill_row, (5, place))
    assert row(bench, 5, 5) == [1, 0, 5]
    assert bench.losses() == {"full_maps": 1}


def test_rows_that_are_not_there_read_as_0() -> None:
    _, bench = lookups(read_rows, (5,))
    assert bench.array("seen")[0] == 0
    assert not bench.table("rows")


def test_a_row_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="width"):
        RowHash((mp.u64,), mp.u64, width=0)

"""Rows of arrays: one bounds check a row, values that are changed in one atomic step, and names of tasks."""

from __future__ import annotations

import linecache
from typing import TYPE_CHECKING, Any

import pytest
from kernel_memory import kernel
from runner import Bench

import multiprobe as mp
from multiprobe.compiler import ir
from multiprobe.compiler.frontend.statements import build
from multiprobe.compiler.program import Program
from multiprobe.errors import CompileError, UsageError
from multiprobe.maps.specs import RowArray

if TYPE_CHECKING:
    from pathlib import Path

FILE = "<rows>"
MASK = (1 << 64) - 1


def make(body: str) -> Program:
    source = "@mp.program\ndef program(ctx):\n" + "".join(f"    {line}\n" for line in body.split("\n"))
    linecache.cache[FILE] = (len(source), None, source.splitlines(keepends=True), FILE)
    names: dict[str, Any] = {
        "mp": mp,
        "rows": RowArray(mp.u64, 3, width=4),
        "signed": RowArray(mp.i32, 2, width=2),
        "narrow": RowArray(mp.u16, 2, width=8),
    }
    exec(compile(source, FILE, "exec"), names)
    program = names["program"]
    assert isinstance(program, Program)
    return program


def test_values_of_a_row() -> None:
    bench = Bench(make("row = ctx.arg(0)\nrows[row, 0] = 5\nrows[row, ctx.arg(1)] += rows[row, 0] + 1"))
    bench.hit(1, 3).hit(2, 0)
    assert bench.array("rows") == [0, 0, 0, 0, 5, 0, 0, 6, 11, 0, 0, 0]
    bench.hit(0, 4)
    assert bench.array("rows")[:4] == [5, 0, 0, 0]
    assert bench.losses() == {"out_of_range": 1}


def test_a_place_that_is_not_there_loses_nothing_else() -> None:
    bench = Bench(make("row = ctx.arg(0)\nrows[row, ctx.arg(1)] = 7\nrows[row, 1] = 8"))
    bench.hit(0, 9)
    assert bench.array("rows")[:4] == [0, 8, 0, 0]


@pytest.mark.parametrize("row", [3, 1 << 40, MASK])
def test_a_row_that_is_not_there_ends_the_program(row: int) -> None:
    bench = Bench(make("rows[ctx.arg(0), 1] = 5\nrows[0, 0] = 6"))
    bench.hit(row)
    assert not any(bench.array("rows"))
    assert bench.losses() == {"out_of_range": 1}


def test_one_check_serves_all_values_of_a_row() -> None:
    once = Bench(make("row = ctx.arg(0)\nrows[row, 0] = 1"))
    more = Bench(make("row = ctx.arg(0)\nrows[row, 0] = 1\nrows[row, 1] = 1\nrows[row, 2] = 1"))
    assert len(more.insns) == len(once.insns) + 2 * 8


def test_adding_yields_what_was_there() -> None:
    bench = Bench(make("rows[0, 1] = rows.fetch_add((0, 0), ctx.arg(0))\nsigned[1, 0] = signed.fetch_add((0, 0), -2)"))
    bench.hit(MASK).hit(5)
    assert bench.array("rows")[:2] == [4, MASK]
    assert bench.array("signed") == [-4, 0, -2, 0]


def test_storing_where_something_is() -> None:
    body = "rows[0, 1] = rows.compare_exchange((0, 0), ctx.arg(0), ctx.arg(1))"
    bench = Bench(make(body + "\nsigned[0, 1] = signed.compare_exchange((0, 0), 0, -7)"))
    assert bench.hit(0, 9).array("rows")[:2] == [9, 0]
    assert bench.hit(8, 10).array("rows")[:2] == [9, 9]
    assert bench.hit(9, 10).array("rows")[:2] == [10, 9]
    assert bench.array("signed") == [-7, -7, 0, 0]


def test_an_exchange_of_what_is_not_there_is_counted() -> None:
    bench = Bench(make("rows[0, 1] = 7 + rows.fetch_add((0, ctx.arg(0)), 1)"))
    bench.hit(4)
    assert (bench.array("rows")[:2], bench.losses()) == ([0, 7], {"out_of_range": 1})


def test_the_name_of_the_task(tmp_path: Path) -> None:
    bench = Bench(make("rows[1, 2] = ctx.comm"))
    assert bench.hit().array("rows")[4:8] == [0, 0, int.from_bytes(b"bash", "little"), 0]
    bench = Bench(make("rows[1, 0] = ctx.task.comm"), kernel=kernel(tmp_path / "btf"))
    task = bench.machine.put(bytes(16) + b"a longer name\0\0\0")
    assert b"".join(one.to_bytes(8, "little") for one in bench.hit(task_btf=task).array("rows")[4:6]) == (
        b"a longer name\0\0\0"
    )


def test_the_program_depends_on_the_kernel_where_it_reads_the_task() -> None:
    assert make("rows[1, 0] = ctx.task.comm").uses_types
    assert not make("rows[1, 0] = ctx.comm").uses_types


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("rows[0] = 1", "a row and a place"),
        ("rows[0, 1, 2] = 1", "a row and a place"),
        ("rows[0, 3] = ctx.comm", "takes 16 bytes of the row"),
        ("rows[0, -1] = ctx.comm", "takes 16 bytes of the row"),
        ("rows[0, ctx.pid] = ctx.comm", "known when compiling"),
        ("rows[0, 0] = mp.kernel_string(ctx.arg(0))", "only ctx.comm is stored"),
        ("narrow[0, 0] = ctx.comm", "only ctx.comm is stored"),
        ("x = rows.add(1)", "'rows' has no 'add'"),
        ("x = rows.fetch_add(0, 1)", "a row and a place"),
        ("x = rows.fetch_add((0, 0))", "a key and a number"),
        ("x = rows.compare_exchange((0, 0), 1)", "a key, what must be there, and what to store"),
        ("x = narrow.fetch_add((0, 0), 1)", "can't be changed in one atomic step"),
        ("del rows[0, 0]", "only keys of a Hash can be deleted"),
    ],
)
def test_refused(body: str, message: str) -> None:
    with pytest.raises(CompileError, match=message):
        build(make(body))


def test_in_python_nothing_is_changed() -> None:
    rows = RowArray(mp.u64, 3, width=4)
    assert repr(rows) == "RowArray(u64, 3, width=4)"
    with pytest.raises(UsageError, match="by programs"):
        rows.fetch_add((0, 0), 1)
    with pytest.raises(UsageError, match="by programs"):
        rows.compare_exchange((0, 0), 1, 2)
    with pytest.raises(UsageError, match="must be a positive integer"):
        RowArray(mp.u64, 0, width=4)


def test_exchanges_are_expressions() -> None:
    (statement,) = build(make("rows.fetch_add((0, 0), 1)")).body
    assert isinstance(statement, ir.Evaluate)
    assert isinstance(statement.value, ir.Exchange)

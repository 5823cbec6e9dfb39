"""`m[k] = max(m[k], x)` and min: one atomic update, as Python calculates it, whatever other CPUs do meanwhile."""

from __future__ import annotations

import linecache

import pytest
from machine import MASK, Machine
from runner import Bench

import multiprobe as mp
from multiprobe.compiler import ir
from multiprobe.compiler.backend.atomics import TRIES
from multiprobe.compiler.frontend.statements import build
from multiprobe.errors import CompileError
from multiprobe.maps import layout

unsigned, signed, narrow = mp.Array(mp.u64, 4), mp.Array(mp.i64, 4), mp.Array(mp.u32, 4)
by_key, signed_by_key = mp.Hash(mp.u32, mp.u64, 3), mp.Hash(mp.u32, mp.i64, 3)
shared = mp.PerFunction(mp.u64, shared=True)
NUMBERS = (5, 0, 9, 7, 1 << 63, MASK, 3)


@mp.program
def extremes(ctx):
    x = ctx.arg(0)
    unsigned[0] = max(unsigned[0], x)
    unsigned[1] = min(x, unsigned[1])
    signed[0] = max(signed[0], mp.i64(x))
    signed[1] = min(signed[1], mp.i64(x))
    by_key[x & 1] = max(by_key[x & 1], x)
    by_key[2] = min(by_key[2], x)
    signed_by_key[0] = max(signed_by_key[0], mp.i64(x))
    signed_by_key[1] = min(mp.i64(x), signed_by_key[1])


def test_all_are_updates() -> None:
    body = build(extremes).body
    ops = [statement.op for statement in body if isinstance(statement, ir.Update)]
    assert ops == ["umax", "umin", "smax", "smin", "umax", "umin", "smax", "smin"]


def test_they_calculate_as_python_does() -> None:
    bench = Bench(extremes)
    expected = {"unsigned": [0] * 4, "signed": [0] * 4, "by_key": {}, "signed_by_key": {}}
    for x in NUMBERS:
        bench.hit(x)
        as_signed = mp.i64(x)
        expected["unsigned"][0] = max(expected["unsigned"][0], x)
        expected["signed"][0] = max(expected["signed"][0], as_signed)
        expected["signed"][1] = min(expected["signed"][1], as_signed)
        expected["by_key"][x & 1] = max(expected["by_key"].get(x & 1, 0), x)
        expected["by_key"][2] = 0
        expected["signed_by_key"][0] = max(expected["signed_by_key"].get(0, 0), as_signed)
        expected["signed_by_key"][1] = min(expected["signed_by_key"].get(1, 0), as_signed)
        assert bench.array("unsigned") == expected["unsigned"]
        assert bench.array("signed") == expected["signed"]
        for name in ("by_key", "signed_by_key"):
            found = {int.from_bytes(key, "little"): n & MASK for key, n in bench.table(name).items()}
            assert found == {key: n & MASK for key, n in expected[name].items()}
    assert bench.losses() == {}


@mp.program
def larger(ctx):
    unsigned[0] = max(unsigned[0], ctx.arg(0))


class Contended(Machine):
    """A machine on which another CPU raises the number before each of the first compare-and-exchanges."""

    others: tuple[int, ...] = ()
    n_exchanges = 0

    def _atomic(self, r: list[int], address: int, size: int, src: int, operation: int) -> None:
        if operation == 0xF1:
            self.n_exchanges += 1
            if self.others:
                self.write(address, size, self.others[0])
                self.others = self.others[1:]
        super()._atomic(r, address, size, src, operation)


@pytest.mark.parametrize(
    ("others", "n_exchanges", "kept"),
    [((), 1, 50), ((1,), 2, 50), ((1, 2, 49), 4, 50), ((1, 60), 2, 60), ((50,), 1, 50)],
)
def test_another_cpu_never_makes_it_smaller(others: tuple[int, ...], n_exchanges: int, kept: int) -> None:
    machine = Contended()
    bench = Bench(larger, machine=machine)
    machine.others = others
    bench.hit(50)
    assert (bench.array("unsigned")[0], machine.n_exchanges) == (kept, n_exchanges)
    assert bench.losses() == {}


def test_a_number_that_never_gets_its_turn_is_counted() -> None:
    machine = Contended()
    bench = Bench(larger, machine=machine)
    machine.others = tuple(range(1, TRIES + 1))
    bench.hit(50)
    assert (bench.array("unsigned")[0], bench.losses()) == (TRIES, {"cut_loops": 1})


@mp.helper
def twice(x):
    return 2 * x


@mp.program
def not_atomic(ctx):
    narrow[0] = max(narrow[0], 7)
    unsigned[0] = max(unsigned[1], ctx.arg(0))
    unsigned[0] = max(unsigned[0], ctx.arg(0), 5)
    signed[0] = max(signed[0], ctx.arg(0))
    unsigned[0] = max(unsigned[0], twice(ctx.arg(0)))


def test_all_others_read_and_write() -> None:
    assert {type(statement) for statement in build(not_atomic).body} == {ir.Store}
    bench = Bench(not_atomic).hit(21)
    assert (bench.array("narrow")[0], bench.array("unsigned")[0], bench.array("signed")[0]) == (7, 42, 21)


@mp.program
def count_and_raise(ctx):
    shared[ctx.function] += 1
    shared[ctx.arg(0)] = max(shared[ctx.arg(0)], ctx.arg(1))


def test_cpus_that_share_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "SHARED_BYTES", 32 * 64)
    addresses = tuple(0xFFFFFFFF81000000 + 16 * n for n in range(7))
    bench = Bench(count_and_raise, context="kprobe_multi", addresses=addresses, n_cpus=256)
    assert len(bench.per_function("shared")) == 32
    registers = bytearray(168)
    for cpu in (1, 33, 255, 63, 2):
        registers[112:120] = (5).to_bytes(8, "little")
        registers[104:112] = (1000 + cpu).to_bytes(8, "little")
        bench.hit(context=bytes(registers), ip=addresses[3], cpu=cpu)
    rows = {row: (values[4], values[6]) for row, values in enumerate(bench.per_function("shared")) if any(values)}
    assert rows == {1: (2, 1033), 2: (1, 1002), 31: (2, 1255)}


@pytest.mark.parametrize(
    "statement", ["m[ctx.function] = ctx.time", "m[ctx.function] *= 2", "m[ctx.function] = max(m[ctx.function], 1, 2)"]
)
def test_nothing_is_assigned_to_slots_that_cpus_share(statement: str) -> None:
    source = f"def program(ctx):\n    {statement}\n"
    file = f"<{statement}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    names: dict[str, object] = {"m": shared}
    exec(compile(source, file, "exec"), names)
    with pytest.raises(CompileError, match="CPUs may share these slots"):
        build(mp.program(names["program"]))  # type: ignore[arg-type]

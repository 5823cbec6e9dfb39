"""Per-CPU maps: memory layout, and generated code."""

from __future__ import annotations

import multiprobe as mp
from multiprobe.compiler.compiling import compile_program
from multiprobe.maps.layout import constants, layout

shared, own = mp.Array(mp.u32, 10), mp.Array(mp.u32, 10, per_cpu=True)


def test_layouts() -> None:
    made = layout(own, 5, 3)
    assert (made.rows, made.row_size, made.slots, made.value_size) == (3, 64, 10, 192)
    numbers = {"map0.stride": 16, "map0.limit": 47, "map0.mask": 3, "n_functions": 5}
    assert constants(own, made, "map0", n_functions=5) == numbers
    assert constants(shared, layout(shared, 5, 3), "map0", n_functions=5) == {}
    table = layout(mp.Hash(mp.u32, mp.u16, per_cpu=True), 5, 3)
    assert (table.value_size, table.rows, table.row_size) == (2, 3, 24)


def test_they_say_what_they_are() -> None:
    assert repr(own) == "Array(u32, 10, per_cpu=True)"
    assert repr(mp.Hash(mp.u32, mp.u16, per_cpu=True)) == "Hash(u32, u16, max_entries=10240, per_cpu=True)"
    assert own.shape() != shared.shape()


@mp.program
def add(ctx):
    own[ctx.arg(0)] += shared[1]


def test_only_a_row_for_each_cpu_needs_the_cpu() -> None:
    code = compile_program(add, context="raw_tracepoint", when="entry", is_cached=False)
    keys = {name.rpartition(".")[2]: f"map{place}" for place, name in enumerate(code.maps)}
    assert {f"{keys['own']}.stride", f"{keys['own']}.limit"} <= code.keys
    assert f"{keys['shared']}.stride" not in code.keys

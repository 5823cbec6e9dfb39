"""A random program as the kernel runs it and as Python does: where they differ, and nothing else."""

from __future__ import annotations

import linecache
from typing import Any

from random_programs import N_ITEMS, N_OUT, Generator, Table, reference
from runner import Bench

import multiprobe as mp
from multiprobe.compiler.program import Program

TYPES = ("u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64", "bool_", "program", "helper")


def compiled(source: str) -> Program:
    """The source as a program for the kernel, with maps of its own."""
    filename = f"<random program {hash(source) & 0xFFFFFFFF:08x}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    names: dict[str, Any] = {
        "mp": module_of({name: getattr(mp, name) for name in TYPES}),
        "out": mp.Array(mp.i64, N_OUT),
        "items": mp.Array(mp.u16, N_ITEMS),
        "table": mp.Hash(mp.u64, mp.u64, 1000),
        "narrow": mp.Hash(mp.u32, mp.i32, 1000),
    }
    exec(compile(source, filename, "exec"), names)
    made = names["program"]
    assert isinstance(made, Program)
    return made


def module_of(names: dict[str, Any]) -> Any:
    """`multiprobe`, as far as programs need it."""
    import types

    module = types.ModuleType("mp")
    vars(module).update(names)
    return module


def as_python(source: str, arguments: list[int], tables: dict[str, Table]) -> None:
    """Run the source as plain Python; what it leaves is in `tables`."""
    names, ctx = reference(arguments, tables)
    exec(compile(source, "<reference>", "exec"), names)
    names["program"](ctx)


def new_tables() -> dict[str, Table]:
    return {
        "out": Table("i64", size=N_OUT),
        "items": Table("u16", size=N_ITEMS),
        "table": Table("u64"),
        "narrow": Table("i32", "u32"),
    }


def state(tables: dict[str, Table]) -> dict[str, dict[int, int]]:
    """What the tables hold, zeros of the arrays left out."""
    found = {name: dict(table.items) for name, table in tables.items()}
    return found | {name: without_zeros(found[name]) for name in ("out", "items")}


def without_zeros(items: dict[int, int]) -> dict[int, int]:
    return {index: number for index, number in items.items() if number}


def on_machine(bench: Bench) -> dict[str, dict[int, int]]:
    """The same of a program on the test machine."""
    used = {name.rpartition(".")[2]: name for name in bench.code.maps}
    found: dict[str, dict[int, int]] = {
        name: without_zeros(dict(enumerate(bench.array(used[name])))) if name in used else {}
        for name in ("out", "items")
    }
    for name in ("table", "narrow"):
        items = bench.table(used[name]) if name in used else {}
        found[name] = {int.from_bytes(key, "little"): number for key, number in items.items()}
    found["narrow"] = {key: number - (1 << 32) * (number >> 31) for key, number in found["narrow"].items()}
    return found


def difference(seed: int, hits: list[list[int]]) -> str:
    """Where the two disagree about the program of that seed, in words; "" where they don't."""
    source = Generator(seed).source()
    bench, tables = Bench(compiled(source)), new_tables()
    for arguments in hits:
        bench.hit(*arguments)
        as_python(source, arguments, tables)
        if on_machine(bench) != state(tables):
            return f"seed {seed}, {arguments}:\n{source}\nmachine {on_machine(bench)}\npython  {state(tables)}"
    return ""

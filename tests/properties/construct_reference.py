"""The constructs of the language (tests/unit/compiler/constructs.py) as programs, and as plain Python."""

from __future__ import annotations

import linecache
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "unit" / "compiler"))

from constructs import CHOICES, NUMBER, PER_PROGRAM
from random_programs import Table, reference, wrap

import multiprobe as mp


def program_of(source: str, **more: Any) -> Any:
    """The source as a program, with maps of its own; `more` names it can use."""
    filename = f"<constructs {hash(source) & 0xFFFFFFFF:08x}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    names: dict[str, Any] = {"mp": mp, "NUMBER": NUMBER, "CHOICES": CHOICES, "out": mp.Array(mp.i64, PER_PROGRAM)}
    names |= {"array": mp.Array(mp.u64, 8), "small": mp.Array(mp.i16, 4), "table": mp.Hash(mp.u64, mp.i64)}
    names["pairs"] = mp.Hash((mp.u64, mp.i64), mp.u64)
    names |= more
    exec(compile(source, filename, "exec"), names)
    return names["program"]


class Pairs(Table):
    """A table whose keys are tuples."""

    def _key(self, key: Any) -> Any:
        return tuple(map(int, key))


def expected(names: list[str], source: str, hit: tuple[int, ...]) -> dict[str, int]:
    """What each construct yields in plain Python, as a number with a sign."""
    out = Table("i64", size=PER_PROGRAM)
    tables = {"out": out, "array": Table("u64", size=8), "small": Table("i16", size=4), "table": Table("i64")}
    tables["pairs"] = Pairs("u64")
    variables, ctx = reference([*hit], tables)
    variables |= {"NUMBER": NUMBER, "CHOICES": CHOICES, "abs": abs}
    exec(compile(source, "<reference>", "exec"), variables)
    variables["program"](ctx)
    return {name: wrap(out.items.get(place, 0), 64, True) for place, name in enumerate(names)}

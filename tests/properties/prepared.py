"""Random programs compiled, and run as plain Python, ahead: an emulated guest takes a second for each.

python tests/properties/prepared.py FIRST N FILE      then, in the guest, MULTIPROBE_PREPARED=FILE[:FILE…]
"""

from __future__ import annotations

import marshal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1] / "unit" / "compiler"))

from differential import as_python, compiled, new_tables, state
from random_programs import Generator, arguments

from multiprobe.compiler import cache
from multiprobe.compiler.code import Code
from multiprobe.compiler.compiling import compile_program
from multiprobe.compiler.program import Program
from multiprobe.errors import CompileError

N_HITS = 4
Case = tuple[int, str, Code, list[list[int]], dict[str, Any]]
"""Seed, source, code, the arguments of each hit, and what the maps hold after them."""


def prepare(seed: int) -> tuple[Program, Case]:
    """One case, calculated now."""
    source = Generator(seed, is_small=True).source()
    program, tables = compiled(source), new_tables()
    code = compile_program(program, context="raw_tracepoint", when="entry", is_cached=False)
    hits = [arguments(10 * seed + n) for n in range(N_HITS)]
    for hit in hits:
        as_python(source, hit, tables)
    return program, (seed, source, code, hits, state(tables))


def load(path: str) -> Iterator[Case]:
    """The cases of a file."""
    with open(path, "rb") as file:
        for seed, source, encoded, hits, expected in marshal.load(file):
            code = cache.decode("", encoded)
            assert code is not None
            yield seed, source, code, hits, expected


def main(first: str, n: str, path: str) -> None:
    cases: list[tuple[object, ...]] = []
    seed, refused = int(first), 0
    while len(cases) < int(n):
        try:
            _, (_, source, code, hits, expected) = prepare(seed)
            cases.append((seed, source, cache.encode("", code), hits, expected))
        except CompileError as error:  # what is known when compiling must fit, and chance may make it too large
            if "does not fit in 64 bits" not in str(error):
                raise
            refused += 1
        seed += 1
    Path(path).write_bytes(marshal.dumps(cases))
    print(f"{len(cases)} programs, seeds {first} to {seed - 1}, {refused} refused for their constants")


if __name__ == "__main__":
    main(*sys.argv[1:])

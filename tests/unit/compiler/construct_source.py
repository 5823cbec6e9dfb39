"""The constructs' programs, for tests that look at their code only."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from constructs import sources

from multiprobe.compiler.program import Program

sys.path.append(str(Path(__file__).parents[2] / "properties"))


def programs() -> Iterator[Program]:
    from construct_reference import program_of

    for _, source in sources():
        yield program_of(source)

"""What docs/language.md names does on the test machine what plain Python does with the documented integers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from constructs import HITS, sources
from runner import Bench

sys.path.append(str(Path(__file__).parents[2] / "properties"))

from construct_reference import expected, program_of

SOURCES = sources()


@pytest.mark.parametrize(("names", "source"), SOURCES, ids=[names[0] for names, _ in SOURCES])
def test_constructs(names: list[str], source: str) -> None:
    for hit in HITS:
        found = Bench(program_of(source)).hit(*hit).array("out")[: len(names)]
        assert dict(zip(names, found, strict=True)) == expected(names, source, hit), hit

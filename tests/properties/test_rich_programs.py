"""The compiler takes random programs with everything; those of `tests/kernel/test_rich_programs.py`, without types."""

from __future__ import annotations

import pytest
from rich_programs import rich_program

from multiprobe.compiler.compiling import compile_program
from multiprobe.compiler.shape import SIDES, Shape

HOOKS = [("kprobe", when) for when in SIDES[:2]] + [
    (hook, when) for hook in ("kprobe_multi", "tracing") for when in SIDES
]


@pytest.mark.parametrize(("context", "when"), HOOKS)
@pytest.mark.parametrize("seed", range(8))
def test_it_is_compiled(seed: int, context: str, when: str) -> None:
    program = rich_program(seed, when=when, has_types=False)
    code = compile_program(program, context=context, when=when, shape=Shape(function_from="ip"), is_cached=False)
    assert code.insns

"""What a program's code depends on, as one short key: its byte code, the values it uses, the hook, the compiler.

Knows Python's code objects; must not compile or read sources.
"""

from __future__ import annotations

import sys
from hashlib import blake2b
from typing import TYPE_CHECKING

from multiprobe.compiler.kernel_types import Enum, Struct
from multiprobe.compiler.program import Helper, Program, is_module, references
from multiprobe.maps.specs import MapSpec
from multiprobe.maps.types import Integer

if TYPE_CHECKING:
    from types import CodeType, FunctionType

    from multiprobe.compiler.shape import Shape

VERSION = 30
"""Raised whenever the same program may get other code than before; a test watches it."""


def digest(program: Program, *, context: str, when: str, shape: Shape, kernel_id: str = "") -> str:
    """The key of the program's code: equal keys mean equal code. `kernel_id` tells kernels with other types apart."""
    compiler = (VERSION, sys.version_info[:3], sys.implementation.name)
    parts = [repr((*compiler, context, when, shape, program.loop_limit, kernel_id))]
    maps = list(program.maps.values())
    functions = program.functions
    for function in functions:
        parts.append(repr(_of_code(function.__code__)))
        parts.extend(f"{name}={_of_value(item, maps, functions)}" for name, item in references(function))
    return blake2b("\n".join(parts).encode(), digest_size=20).hexdigest()


def _of_code(code: CodeType) -> tuple[object, ...]:
    constants = [_of_code(const) if isinstance(const, type(code)) else _of_constant(const) for const in code.co_consts]
    names = (code.co_name, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return (code.co_code, constants, names, code.co_argcount, code.co_flags, code.co_linetable)


def _of_constant(const: object) -> object:
    return sorted(map(repr, const)) if isinstance(const, frozenset) else const


def _of_value(item: object, maps: list[MapSpec], functions: list[FunctionType]) -> object:
    if isinstance(item, (int, str)) or (isinstance(item, tuple) and all(isinstance(one, int) for one in item)):
        return repr(item)
    if isinstance(item, (Struct, Enum)):
        return item.shape()
    if isinstance(item, MapSpec):
        return maps.index(item), item.shape()
    if isinstance(item, Integer):
        return item.name
    if isinstance(item, Helper):
        return functions.index(item.function)
    if is_module(item):
        return "module"
    return type(item).__name__, getattr(item, "__qualname__", "")

"""Programs whose source is generated around an expression of the user's."""

from __future__ import annotations

import linecache
from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.errors import CompileError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multiprobe.compiler.program import Program


def make_generated(name: str, source: str, names: Mapping[str, object], *, when: str, what: str) -> Program:
    """The program of the function `name` that `source` defines.

    names: what the source refers to; what: the user's expression, as errors call it
    Raises CompileError.
    """
    file = f"<{name} {abs(hash(source)):x}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    scope = dict(names)
    try:
        exec(compile(source, file, "exec"), scope)
    except SyntaxError as error:
        raise CompileError(f"the {what} can't be compiled: {error.msg}") from error
    function = scope[name]
    assert callable(function)
    return mp.program(function, when=when)

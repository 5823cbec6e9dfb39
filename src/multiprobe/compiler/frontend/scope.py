"""What a name in a program means: a local, `ctx`, or a value from outside.

Knows Python's scoping and what is known about locals so far; must not build code.
"""

from __future__ import annotations

import builtins
from types import FunctionType
from typing import TYPE_CHECKING

from multiprobe.compiler.frontend import kinds
from multiprobe.compiler.frontend.source import Source, read
from multiprobe.compiler.ir import BOOL

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multiprobe.compiler.frontend.typed import KernelTypes
    from multiprobe.compiler.shape import Argument

MISSING = object()


class Facts:
    """What one pass over the program learns and the next one uses: the kinds of locals, by qualified name, and the
    sources of the functions that it consists of. `types` are those of the kernel that it is compiled for,
    `arguments` what its functions' parameters are called (None: which functions, isn't known); `is_session`: it runs at
    entry and return."""

    def __init__(
        self, types: KernelTypes, arguments: tuple[Argument, ...] | None = None, *, is_session: bool = False
    ) -> None:
        self.types = types
        self.arguments = arguments
        self.is_session = is_session
        self.kinds: dict[str, str] = {}
        self.sources: dict[FunctionType, Source] = {}

    def source(self, function: FunctionType) -> Source:
        if function not in self.sources:
            self.sources[function] = read(function)
        return self.sources[function]

    def of(self, name: str) -> str:
        return self.kinds.get(name, BOOL)

    def learn(self, name: str, kind: str) -> None:
        """A value of `kind` is assigned to `name`."""
        self.kinds[name] = kinds.join(self.kinds.get(name), kind)


class Scope:
    """One function's names. `prefix` keeps the locals of inlined helpers apart; `contexts` are parameters that stand
    for the program's `ctx`; `result` is where `return` leaves its value (helpers only)."""

    def __init__(
        self, function: FunctionType, source: Source, *, prefix: str = "", contexts: Iterable[str] = ()
    ) -> None:
        self.function = function
        self.source = source
        self.prefix = prefix
        self.contexts = set(contexts)
        self.result: str | None = None
        self.has_result = False
        self.loops = 0

    def is_local(self, name: str) -> bool:
        code = self.function.__code__
        return name in code.co_varnames or name in code.co_cellvars

    def qualified(self, name: str) -> str:
        return self.prefix + name

    def outside(self, name: str) -> object:
        """The value of a name from outside the function now, or MISSING."""
        code = self.function.__code__
        for free, cell in zip(code.co_freevars, self.function.__closure__ or (), strict=True):
            if free == name:
                try:
                    return cell.cell_contents
                except ValueError:
                    return MISSING
        if name in self.function.__globals__:
            return self.function.__globals__[name]
        return getattr(builtins, name, MISSING)

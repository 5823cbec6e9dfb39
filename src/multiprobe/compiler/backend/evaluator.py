"""Defines what the parts of the code generator ask of the whole: the value of an expression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from multiprobe.compiler.backend.contexts import HookContext
    from multiprobe.compiler.backend.emitter import Emitter
    from multiprobe.compiler.ir import Expression


class Evaluator(Protocol):
    """Emits code for expressions of one program, into `e`; `hook` answers for the context the program runs in."""

    @property
    def e(self) -> Emitter: ...

    @property
    def hook(self) -> HookContext: ...

    def integer(self, expression: Expression) -> str:
        """Emit code for an expression and return its operand, 64 bits wide."""
        ...

    def identity(self, expression: Expression) -> object | None:
        """What is equal for two evaluations, on the same straight way, that yield the same; None where nothing is."""
        ...

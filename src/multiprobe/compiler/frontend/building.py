"""Defines what the parts of the front end ask of the whole: building the typed form of Python syntax."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import ast
    from collections.abc import Sequence

    from multiprobe.compiler import ir
    from multiprobe.compiler.frontend.scope import Facts
    from multiprobe.compiler.ir import Expression
    from multiprobe.errors import CompileError
    from multiprobe.maps.specs import MapSpec
    from multiprobe.maps.types import Integer


class ExpressionBuilder(Protocol):
    """Builds the typed expressions of one program. `needs` collects what the program asks of its context."""

    facts: Facts
    needs: set[str]

    def fail(self, node: ast.AST, message: str, *, hint: str = "") -> CompileError:
        """Return the error that points at `node`."""
        ...

    def expression(self, node: ast.expr) -> Expression:
        """Build any expression."""
        ...

    def number(self, node: ast.expr) -> Expression:
        """Build an expression whose value must fit in 64 bits."""
        ...

    def values_of(self, nodes: Sequence[ast.expr]) -> list[Expression]:
        """Build several numbers."""
        ...

    def value_of(self, node: ast.expr) -> object:
        """Return the Python value that `node` names outside of the program, or MISSING."""
        ...

    def is_context(self, node: ast.expr) -> bool:
        """Return whether `node` is the program's `ctx`."""
        ...

    def is_simple(self, node: ast.Attribute) -> bool:
        """Return whether `node` is `ctx.NAME` or `module.NAME`."""
        ...

    def map_of(self, node: ast.expr) -> tuple[int, MapSpec] | None:
        """Return the map that `node` names, as its index among the program's maps and its spec."""
        ...

    def key(self, spec: MapSpec, node: ast.expr) -> ir.Key:
        """Build the parts of a map's key."""
        ...

    def decayed(self, made: Expression) -> Expression:
        """Return `made` as a number if it is a pointer."""
        ...

    def negated(self, operand: Expression) -> Expression:
        """Build `not operand`."""
        ...

    def keep(self, made: Expression) -> tuple[Expression, Expression]:
        """Return `made` to be evaluated now, and the same value for use again."""
        ...

    def compare(self, node: ast.Compare, op: ast.cmpop, left: Expression, right: Expression) -> Expression:
        """Build one comparison of two numbers."""
        ...

    def convert(self, node: ast.AST, to: Integer, made: Expression) -> Expression:
        """Build `to(made)`."""
        ...

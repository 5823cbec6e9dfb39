"""`in` and `is None`: comparisons with what is no number.

Knows which right sides they have; what a comparison of numbers becomes is the business of `expressions`.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from multiprobe.compiler import ir
from multiprobe.compiler.ir import BOOL, Const, Expression
from multiprobe.maps.specs import Hash
from multiprobe.maps.tasks import PerTask

if TYPE_CHECKING:
    from multiprobe.compiler.frontend.building import ExpressionBuilder


def is_none(node: ast.expr) -> bool:
    """Whether this is the constant None."""
    return isinstance(node, ast.Constant) and node.value is None


def compare_with_none(builder: ExpressionBuilder, node: ast.Compare, op: ast.cmpop) -> Expression:
    """`p is None`, `p == None` and their opposites."""
    made = builder.expression(node.left)
    if not ir.is_pointer(made.kind) or not isinstance(op, ast.Is | ast.IsNot | ast.Eq | ast.NotEq):
        raise builder.fail(node, "only pointers can be None", hint="compare numbers with 0")
    is_equal = isinstance(op, ast.Is | ast.Eq)
    return ir.Compare("eq" if is_equal else "ne", builder.decayed(made), Const(0))


def contains(builder: ExpressionBuilder, node: ast.Compare, right: ast.expr, *, is_in: bool) -> Expression:
    """`key in table`, `number in (1, 2, 3)`, or their opposites."""
    found = builder.map_of(right)
    made: Expression
    if found is not None and isinstance(found[1], Hash | PerTask):
        made = ir.Contains(found[0], builder.key(found[1], node.left))
    else:
        numbers = _numbers(builder, right)
        if numbers is None:
            raise builder.fail(right, "`in` asks a Hash for a key", hint="or whether a number is one of (1, 2, 3)")
        made = _is_one_of(builder, node, numbers)
    return made if is_in else builder.negated(made)


def _numbers(builder: ExpressionBuilder, node: ast.expr) -> list[int] | None:
    """The numbers of a tuple that is written here or comes from outside; None if it is something else."""
    if isinstance(node, ast.Tuple):
        parts = [builder.number(part) for part in node.elts]
        known = [part.value for part in parts if isinstance(part, Const)]
        return known if len(known) == len(parts) else None
    item = builder.value_of(node)
    return list(item) if isinstance(item, tuple) and all(isinstance(one, int) for one in item) else None


def _is_one_of(builder: ExpressionBuilder, node: ast.Compare, numbers: list[int]) -> Expression:
    now, again = builder.keep(builder.number(node.left))
    tests = [builder.compare(node, ast.Eq(), again if i else now, Const(n)) for i, n in enumerate(numbers)]
    result: Expression = tests[-1] if tests else Const(0, BOOL)
    for test in reversed(tests[:-1]):
        if not isinstance(test, Const):
            result = ir.Logical(False, test, result, BOOL)
        elif test.value:
            result = test
    return result

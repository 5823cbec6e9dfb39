"""Which kind an operation yields, and arithmetic on numbers that are known already.

The rules: arithmetic happens in 64 bits and wraps; its result has a sign if one operand has. Numbers
written in the program, truth values, and what is calculated from nothing else take the kind of what they meet, and
have a sign on their own. A variable has one kind: the strongest of all values assigned to it.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

from multiprobe.compiler.ir import BOOL, I64, LITERAL, U64, Const, Expression, is_pointer

if TYPE_CHECKING:
    from collections.abc import Callable

_STRENGTH = {BOOL: 0, LITERAL: 1, U64: 3, I64: 4}
_POINTER = 2
_LOWEST, _HIGHEST, _SIGN = -(1 << 63), (1 << 64) - 1, 1 << 63


def join(left: str | None, right: str) -> str:
    """The one kind that holds both; None is the kind of nothing yet. Two pointers of unlike types are mere numbers."""
    if left is None or left == right:
        return right
    if is_pointer(left) and is_pointer(right):
        return U64
    return right if _STRENGTH.get(left, _POINTER) < _STRENGTH.get(right, _POINTER) else left


def of_arithmetic(left: Expression, right: Expression) -> str:
    """The kind of `left op right`, shifts excepted."""
    return join(join(left.kind, right.kind), LITERAL)


def of_shift(left: Expression) -> str:
    """The kind of `left << right`: how far has no influence on it."""
    return join(alone(left), LITERAL)


def of_unary(operand: Expression) -> str:
    """The kind of `-operand`, `~operand`."""
    return join(operand.kind, LITERAL)


def alone(expression: Expression) -> str:
    """The kind of a value that is stored or chosen, not calculated with: a number's size shows what it needs."""
    if isinstance(expression, Const) and expression.kind == LITERAL:
        if expression.value < 0:
            return I64
        return U64 if expression.value >= _SIGN else LITERAL
    return expression.kind


def constant(number: int, kind: str) -> Const:
    """A number of this kind, as 64 bits hold it."""
    low = number & _HIGHEST
    if kind == I64:
        return Const(low - (_SIGN << 1) if low >= _SIGN else low, kind)
    return Const(low if kind == U64 else number, kind)


def fits(number: int) -> bool:
    """Whether a number fits in 64 bits, with or without a sign."""
    return _LOWEST <= number <= _HIGHEST


FOLD: dict[str, Callable[[int, int], int]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
    "shl": operator.lshift,
    "shr": operator.rshift,
    "pow": operator.pow,
}
COMPARE: dict[str, Callable[[int, int], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}


def fold(op: str, left: int, right: int) -> int | None:
    """Python's own result, or None where it has none (division by zero) or a needlessly huge one."""
    if op in ("floordiv", "mod") and right == 0:
        return None
    if op in ("shl", "shr", "pow") and not 0 <= right <= 128:
        return None
    return FOLD[op](left, right)

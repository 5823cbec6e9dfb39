"""`m[k] = max(m[k], x)`, and the same with min: one atomic update instead of a read and a write.

Knows Python's syntax; must not know LLVM, hooks or the kernel.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from multiprobe.compiler import ir
from multiprobe.compiler.ir import I64, U64, Const, Expression

if TYPE_CHECKING:
    from multiprobe.compiler.frontend.expressions import Expressions
    from multiprobe.maps.types import Integer

_SIGN = 1 << 63


def extreme_update(builder: Expressions, node: ast.Assign) -> ir.Update | None:
    """The update that an assignment is, without its line; None for all others."""
    target, call = node.targets[0], node.value
    if not isinstance(target, ast.Subscript) or not isinstance(call, ast.Call) or call.keywords or len(call.args) != 2:
        return None
    extreme = builder.value_of(call.func) if isinstance(call.func, ast.Name) else None
    others = [argument for argument in call.args if ast.dump(argument) != _dump_loaded(target)]
    if extreme not in (min, max) or len(others) != 1 or builder.map_of(target.value) is None:
        return None
    index, spec, key = builder.item(target)
    made = builder.number(others[0])
    if not _is_like(made, spec.value) or ir.has_calls((key, made)):
        return None
    op = f"{'s' if spec.value.is_signed else 'u'}{'max' if extreme is max else 'min'}"
    return ir.Update(-1, index, key, op, made)


def _dump_loaded(target: ast.Subscript) -> str:
    return ast.dump(ast.Subscript(target.value, target.slice, ast.Load()))


def _is_like(made: Expression, type_: Integer) -> bool:
    """Whether comparing values of this type with `made` compares 8 bytes, all with a sign or all without."""
    if type_.size != 8:
        return False
    if isinstance(made, Const):
        return -_SIGN <= made.value < _SIGN if type_.is_signed else made.value >= 0
    return made.kind == (I64 if type_.is_signed else U64)

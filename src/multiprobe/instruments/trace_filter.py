"""`--filter`: a Python expression, split into what is known when a function is entered and what only when it returns.

Knows the names that a filter may use, and Python's syntax; what the expression then means is up to the compiler.
"""

from __future__ import annotations

import ast
import errno

from multiprobe.errors import UsageError
from multiprobe.values import value

RETURNED = ("ret", "duration")
"""Known at the return only; locals of the program."""
ANYWHERE = ("pid", "tid", "comm", "cpu")
CALLS = ("min", "max", "abs", "bool")
MAX_ARGUMENTS = 6
_HINT = "a filter is a Python expression with arg0 … arg5, parameters by name, ret, duration (ns), pid, tid, comm, cpu"


@value
class Filter:
    """The two halves of a filter, as Python for a program: an expression each, or "" where there is nothing to ask."""

    entry: str = ""
    returned: str = ""


def parse_filter(text: str) -> Filter:
    """Take a filter apart. Raises UsageError."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        column = (error.offset or 1) - 1
        raise UsageError(
            f"the filter can't be read: {error.msg}\n    {text}\n    {' ' * column}^", hint=_HINT
        ) from None
    terms = tree.values if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And) else [tree]
    halves: dict[bool, list[str]] = {False: [], True: []}
    for term in terms:
        names = {node.id for node in ast.walk(term) if isinstance(node, ast.Name)} - set(CALLS)
        is_late = bool(names & set(RETURNED))
        others = sorted(names - set(RETURNED) - set(ANYWHERE) - set(_errnos()))
        if is_late and others:
            raise UsageError(
                f"the filter mixes what is known at the return with the argument {others[0]}: {ast.unparse(term)}",
                hint="join conditions on arguments and on the returned value by `and`",
            )
        halves[is_late].append(f"({ast.unparse(_Names().visit(term))})")
    return Filter(" and ".join(halves[False]), " and ".join(halves[True]))


def _errnos() -> dict[str, int]:
    return {name: number for number, name in errno.errorcode.items()}


class _Names(ast.NodeTransformer):
    """What a filter's names are in a program."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if not (isinstance(node.func, ast.Name) and node.func.id in CALLS):
            raise UsageError(f"a filter can't call {ast.unparse(node.func)}", hint=f"it has {', '.join(CALLS)}")
        node.args = [self.visit(part) for part in node.args]
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        name = node.id
        if name in RETURNED:
            return node
        if name in ANYWHERE:
            return ast.Attribute(ast.Name("ctx"), name)
        if name.startswith("arg") and name[3:].isdigit():
            if int(name[3:]) >= MAX_ARGUMENTS:
                raise UsageError(f"a filter knows {MAX_ARGUMENTS} arguments, not {name}", hint=_HINT)
            return ast.Call(ast.Attribute(ast.Name("ctx"), "arg"), [ast.Constant(int(name[3:]))], [])
        if name in _errnos():
            return ast.Constant(_errnos()[name])
        return ast.Attribute(ast.Attribute(ast.Name("ctx"), "args"), name)

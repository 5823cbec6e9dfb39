"""Names for Python's syntax: which operators the language has, and in which words everything else is refused."""

from __future__ import annotations

import ast

BINARY: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.FloorDiv: "floordiv",
    ast.Mod: "mod",
    ast.BitAnd: "and",
    ast.BitOr: "or",
    ast.BitXor: "xor",
    ast.LShift: "shl",
    ast.RShift: "shr",
    ast.Pow: "pow",
}
COMPARISON: dict[type[ast.cmpop], str] = {
    ast.Eq: "eq",
    ast.NotEq: "ne",
    ast.Lt: "lt",
    ast.LtE: "le",
    ast.Gt: "gt",
    ast.GtE: "ge",
}
ATOMIC = {"add": "add", "sub": "add", "and": "and", "or": "or", "xor": "xor"}
"""Updates of a map's value that the processor does in one step, and with which operation."""

REFUSED: dict[type[ast.AST], tuple[str, str]] = {
    ast.Div: ("true division", "integers divide with //"),
    ast.MatMult: ("matrix multiplication", ""),
    ast.Is: ("`is`", "compare with =="),
    ast.IsNot: ("`is not`", "compare with !="),
    ast.Lambda: ("lambda", "write a function with @mp.helper"),
    ast.FunctionDef: ("a function inside a program", "write it outside, with @mp.helper"),
    ast.AsyncFunctionDef: ("an async function", ""),
    ast.ClassDef: ("a class inside a program", ""),
    ast.Try: ("try", "nothing raises in a program"),
    ast.TryStar: ("try", "nothing raises in a program"),
    ast.Raise: ("raise", "leave with return"),
    ast.Assert: ("assert", "leave with `if …: return`"),
    ast.With: ("with", ""),
    ast.AsyncWith: ("async with", ""),
    ast.AsyncFor: ("async for", ""),
    ast.Await: ("await", ""),
    ast.Yield: ("yield", ""),
    ast.YieldFrom: ("yield from", ""),
    ast.Global: ("global", "keep what must last in a map"),
    ast.Nonlocal: ("nonlocal", "keep what must last in a map"),
    ast.Import: ("import", "import outside of the program"),
    ast.ImportFrom: ("import", "import outside of the program"),
    ast.Match: ("match", "use if/elif"),
    ast.List: ("a list", "use an Array"),
    ast.Dict: ("a dict", "use a Hash"),
    ast.Set: ("a set", "use a Hash"),
    ast.ListComp: ("a comprehension", "use a for loop"),
    ast.SetComp: ("a comprehension", "use a for loop"),
    ast.DictComp: ("a comprehension", "use a for loop"),
    ast.GeneratorExp: ("a generator", "use a for loop"),
    ast.JoinedStr: ("an f-string", "programs handle integers; make text of them in Python"),
    ast.Slice: ("a slice", ""),
    ast.Starred: ("a starred expression", ""),
    ast.NamedExpr: (":=", "assign on a line of its own"),
    ast.Tuple: ("a tuple", "tuples are keys of a Hash"),
}


def describe(node: ast.AST) -> tuple[str, str]:
    """What is refused, in words, and what to write instead."""
    return REFUSED.get(type(node), (type(node).__name__, ""))

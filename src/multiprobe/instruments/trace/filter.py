"""Parses a filter, a Python expression, and splits it into the parts evaluated at the entry and at the return.

The parts are Python source for the probe. `trace.filter_names` resolves the names of arguments.
"""

from __future__ import annotations

import ast
import errno
import re
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from multiprobe.errors import UsageError
from multiprobe.instruments.trace.reads import MAX_ARGUMENTS
from multiprobe.kernel import flag_names

if TYPE_CHECKING:
    from collections.abc import Callable

_COMM = 'put the name in quotes: comm == "bash"'
RETURNED = ("ret", "duration")
"""Names known at the return only; locals of the program."""
_ARGUMENT = re.compile("arg[0-9]{1,9}")
ANYWHERE = ("pid", "tid", "comm", "cpu")
CALLS = ("min", "max", "abs", "bool")
_HINT = "a filter is a Python expression with arg0 … arg11, parameters by name, ret, duration (ns), pid, tid, comm, cpu"
_OTHER_SIGNS = {
    "&&": "write `and` for &&: a filter is a Python expression",
    r"\|\|": "write `or` for ||: a filter is a Python expression",
    "->": "write a dot for ->, as in file.f_flags",
    r"!(?!=)": "write `not` for !: a filter is a Python expression",
    r"(?<![=!<>])=(?!=)": "write == to compare: a filter is a Python expression",
    r"^\s*/.*/\s*$": "leave out the slashes, which are bpftrace's: a filter is a Python expression",
    r"\d\s*([mun]?secs?|min|m|h)\b": "the units of time are ns, us, ms and s",
    r"\d\s*[kKMG]i?B?\b": "write a size as a number: 4096, or 4 << 10",
}
"""What is written for signs that Python lacks, by a regular expression for them."""
_COMM_LENGTH = 15
_DURATION = "write duration, the time of the call: duration > 10ms"
OTHER_NAMES = {
    **dict.fromkeys(("elapsed", "nsecs", "latency", "time", "dur"), _DURATION),
    **dict.fromkeys(("NULL", "null", "false"), "write 0"),
    "true": "write 1",
    "errno": "write ret, which is negative if a call fails: ret == -ENOENT",
    "args": "parameters need no args in front of them: count, file.f_flags",
}
"""What is written here for names of other languages."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """An argument or member, as Python source for the probe.

    kind: "number"; "text", a string at the address `code`; "filled", a string that the call writes there; "ipv4", a
        number that can be compared with an address
    count: of a string, the number of its bytes, as Python source; "" if it ends with a NUL
    """

    code: str
    is_signed: bool = False
    kind: str = "number"
    count: str = ""


@dataclass(frozen=True, slots=True)
class Filter:
    """The two parts of a filter, as Python expressions for the program; "" if a part has no condition.

    kept: expressions evaluated at the entry for the part at the return, where they are called `kept0`, `kept1`, …
    signed: the positions of signed expressions in `kept`
    """

    entry: str = ""
    returned: str = ""
    kept: tuple[str, ...] = ()
    signed: tuple[int, ...] = ()


def plain_meaning(path: str) -> Meaning:
    """The meaning of an argument without type information: an unsigned number."""
    place = place_of(path)
    return Meaning(f"ctx.args.{path}" if place is None else register(place))


def place_of(name: str) -> int | None:
    """7 for `arg7`; None for any other name."""
    return int(name[3:]) if _ARGUMENT.fullmatch(name) else None


def register(place: int) -> str:
    """An argument by its number, as Python source for the probe. Raises UsageError beyond the last one."""
    if place >= MAX_ARGUMENTS:
        raise UsageError(f"a filter can use {MAX_ARGUMENTS} arguments, not arg{place}", hint=_HINT)
    return f"ctx.arg({place})"


_TIME = re.compile(r"""("[^"]*"|'[^']*')|\b(\d+(?:\.\d+)?)\s?(ns|us|µs|ms|s)\b""")
_UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": 1_000_000_000}


def in_nanoseconds(text: str) -> str:
    """A filter with its times (`50ms`, `1.5s`) as numbers of nanoseconds; strings in it are left alone."""
    return _TIME.sub(lambda found: found[1] or str(_nanoseconds(found[2], found[3])), text)


def _nanoseconds(number: str, unit: str) -> int:
    found = float(number) * _UNITS[unit]
    if found >= 1 << 63:
        raise UsageError(f"a filter's time is at most 292 years, not {number[:20]}…{unit}")
    return round(found)


def parse_filter(text: str, meaning: Callable[[str], Meaning] = plain_meaning) -> Filter:
    """Parse and split a filter; `meaning` resolves a path such as `sk.__sk_common.skc_num`. Raises UsageError."""
    try:
        return _split(text, meaning)
    except (RecursionError, MemoryError):
        raise UsageError("the filter is nested too deeply", hint=_HINT) from None


def _split(text: str, meaning: Callable[[str], Meaning]) -> Filter:
    try:
        tree = ast.parse(in_nanoseconds(text).strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        column = (getattr(error, "offset", None) or 1) - 1
        message = getattr(error, "msg", str(error))
        hint = next((advice for sign, advice in _OTHER_SIGNS.items() if re.search(sign, text)), _HINT)
        raise UsageError(f"the filter can't be read: {message}\n    {text}\n    {' ' * column}^", hint=hint) from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, int) and node.value.bit_length() > 64:
            raise UsageError(
                f"a filter can't use a number of {node.value.bit_length():,} bits: 64 at the most", hint=_HINT
            )
    terms = tree.values if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And) else [tree]
    entry, returned = list[str](), list[str]()
    keeper = _Keeper(meaning)
    for term in terms:
        if keeper.needs_return(term):
            returned.append(f"({ast.unparse(keeper.visit(term))})")
        else:
            entry.append(f"({ast.unparse(_FilterNames(meaning).visit(term))})")
    return Filter(" and ".join(entry), " and ".join(returned), tuple(keeper.kept), tuple(keeper.signed))


def _refuse_positive_errno(node: ast.Compare) -> None:
    """Raise UsageError for `ret == ENOENT`, which no call fulfils."""
    sides = (node.left, *node.comparators)
    names = {part.id for part in sides if isinstance(part, ast.Name)}
    errnos = names & set(errno.errorcode.values())
    if "ret" in names and errnos and isinstance(node.ops[0], ast.Eq):
        name = errnos.pop()
        raise UsageError(f"{ast.unparse(node)} is true of no failure: errnos are negative", hint=f"ret == -{name}")


def _same_comm(text: str) -> str:
    """The comparison of the command's name, as Python source for the probe."""
    if len(text.encode()) > _COMM_LENGTH:
        short = text.encode()[:_COMM_LENGTH].decode(errors="ignore")
        raise UsageError(f"comm is never {text!r}: the kernel keeps {_COMM_LENGTH} bytes of a name", hint=f'"{short}"')
    return f"ctx.comm == {text!r}"


def _asks(node: ast.AST, names: tuple[str, ...]) -> bool:
    return any(isinstance(part, ast.Name) and part.id in names for part in ast.walk(node))


def constants() -> dict[str, int]:
    """The constants that a filter may name: errnos, and the flags and choices of `flag_names`."""
    found = {name: number for number, name in errno.errorcode.items()}
    for table in (*flag_names.FLAGS.values(), *flag_names.CHOICES.values()):
        found |= {name: number for number, name in table.items()}
    return found


def path_of(node: ast.AST) -> str:
    """`a.b.c` of nested attributes; "" for anything else."""
    names = list[str]()
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(names)]) if isinstance(node, ast.Name) else ""


def _is_argument(path: str) -> bool:
    name = path.partition(".")[0]
    return bool(name) and name not in RETURNED and name not in ANYWHERE and (path not in constants())


class _FilterNames(ast.NodeTransformer):
    """Replaces a filter's names by their expressions in the program."""

    def __init__(self, meaning: Callable[[str], Meaning]) -> None:
        self.meaning = meaning

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if not (isinstance(node.func, ast.Name) and node.func.id in CALLS) or node.keywords:
            raise UsageError(f"a filter can't call {ast.unparse(node.func)}", hint=f"it has {', '.join(CALLS)}")
        node.args = [self.visit(part) for part in node.args]
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if not isinstance(node.value, int):
            raise UsageError(f"a filter can't use {ast.unparse(node)} here: expected a number", hint=_HINT)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        path = path_of(node)
        if path.partition(".")[0] in (*RETURNED, *ANYWHERE):
            raise UsageError(f"invalid {path}: {path.partition('.')[0]} has no members", hint=_HINT)
        return self._argument(path) if path and _is_argument(path) else self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        name = node.id
        if name == "comm":
            raise UsageError("comm is a string and can't be used as a number", hint=_COMM)
        if name in RETURNED:
            return node
        if name in ANYWHERE:
            return ast.Attribute(ast.Name("ctx"), f"ns_{name}" if name in ("pid", "tid") else name)
        return ast.Constant(constants()[name]) if name in constants() else self._argument(name)

    def _argument(self, path: str) -> ast.AST:
        return _parsed(self.meaning(path).code)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        if any(isinstance(op, ast.Is | ast.IsNot) for op in node.ops):
            raise UsageError(f"a filter can't use `is`: {ast.unparse(node)}", hint="compare with == or !=")
        texts = _texts(node)
        if texts is None:
            if "comm" in map(path_of, (node.left, *node.comparators)):
                raise UsageError(f"comm can only be compared with strings: {ast.unparse(node)}", hint=_COMM)
            _refuse_positive_errno(node)
            return self.generic_visit(node)
        operand = node.left if path_of(node.left) else node.comparators[0]
        path, op = path_of(operand), node.ops[0]
        if not path or not isinstance(op, ast.Eq | ast.NotEq | ast.In | ast.NotIn):
            raise UsageError(f"strings can only be compared with ==, != and in: {ast.unparse(node)}", hint=_HINT)
        same = self._same(path) if path != "comm" else _same_comm
        found = " or ".join(f"({same(text)})" for text in texts)
        return _parsed(f"({found})" if isinstance(op, ast.Eq | ast.In) else f"(not ({found}))")

    def _same(self, path: str) -> Callable[[str], str]:
        known = self.meaning(path) if _is_argument(path) else None
        if known is None or known.kind == "number":
            raise UsageError(
                f"{path} is a number and can't be compared with a string", hint=f"leave out the quotes: {path} == …"
            )
        code, given = known.code, known.code
        if known.kind == "ipv4":
            return lambda text: f"{code} == {_ipv4(text)}"
        if known.kind == "filled":
            code = self._at_entry(code)
            given = f"{code}, min({self._at_entry(known.count)}, max(ret, 0))"
        elif known.count:
            given = f"{code}, {known.count}"
        return lambda text: (
            f"mp.kernel_string({given}) == {text!r} if mp.u64({code}) >= KERNEL_HALF "
            f"else mp.user_string({given}) == {text!r}"
        )

    def _at_entry(self, code: str) -> str:
        """The value that an expression had at the entry, as Python source for the return."""
        return code


class _Keeper(_FilterNames):
    """The same for the return, where arguments are gone: the largest parts that use them are kept at the entry."""

    def __init__(self, meaning: Callable[[str], Meaning]) -> None:
        super().__init__(meaning)
        self.kept: list[str] = []
        self.signed: list[int] = []

    def visit(self, node: ast.AST) -> ast.AST:
        if not isinstance(node, ast.expr) or self.needs_return(node) or not self._asks_arguments(node):
            visited: ast.AST = super().visit(node)
            return visited
        is_signed = self._is_signed(node)
        return ast.Name(self._keep(ast.unparse(_FilterNames(self.meaning).visit(node)), is_signed=is_signed))

    def _keep(self, code: str, *, is_signed: bool) -> str:
        if code not in self.kept:
            if is_signed:
                self.signed.append(len(self.kept))
            self.kept.append(code)
        return f"kept{self.kept.index(code)}"

    def _at_entry(self, code: str) -> str:
        return self._keep(code, is_signed=code.startswith("mp.i"))

    def needs_return(self, node: ast.AST) -> bool:
        """Whether an expression is known at the return only: the result, the duration, or what the call wrote."""
        return _asks(node, RETURNED) or any(
            isinstance(part, ast.Compare) and self._is_filled(part) for part in ast.walk(node)
        )

    def _is_filled(self, node: ast.Compare) -> bool:
        paths = [path for path in map(path_of, (node.left, *node.comparators)) if path and _is_argument(path)]
        return bool(paths) and _texts(node) is not None and self.meaning(paths[0]).kind == "filled"

    def _asks_arguments(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Call):
            return any(map(self._asks_arguments, node.args))
        path = path_of(node)
        return _is_argument(path) if path else any(map(self._asks_arguments, ast.iter_child_nodes(node)))

    def _is_signed(self, node: ast.AST) -> bool:
        """Whether an expression is signed: as in the language, if any operand is."""
        if isinstance(node, ast.Compare) or (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub)):
            return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
        path = path_of(node)
        if path:
            return path in ("pid", "tid") or (_is_argument(path) and self.meaning(path).is_signed)
        return any(map(self._is_signed, ast.iter_child_nodes(node)))


def _texts(node: ast.Compare) -> list[str] | None:
    """The strings in a comparison; None if it compares numbers."""
    for side in (*node.comparators, node.left):
        items = side.elts if isinstance(side, ast.Tuple | ast.List) and side.elts else [side]
        found = [item.value for item in items if isinstance(item, ast.Constant) and isinstance(item.value, str)]
        if found:
            if len(node.ops) > 1:
                raise UsageError(f"comparisons of strings can't be chained: {ast.unparse(node)}", hint=_HINT)
            if len(found) < len(items):
                raise UsageError(f"strings and numbers can't be mixed: {ast.unparse(node)}", hint=_HINT)
            return found
    return None


def _ipv4(text: str) -> int:
    try:
        return int(IPv4Address(text))
    except ValueError:
        raise UsageError(f"invalid IPv4 address {text!r}", hint='use four numbers: "127.0.0.1"') from None


def _parsed(code: str) -> ast.expr:
    return ast.parse(code, mode="eval").body

"""Python expressions to typed ones. The half of the front end that gives every value its kind.

Knows `ast`, names and kinds; must not know LLVM, hooks or the kernel.
"""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from multiprobe.compiler import ir
from multiprobe.compiler.frontend import kinds, language, membership
from multiprobe.compiler.frontend.methods import METHODS, STRING_HINT, call_method, compare_strings, need_string
from multiprobe.compiler.frontend.pointers import Pointers
from multiprobe.compiler.frontend.scope import MISSING, Facts, Scope
from multiprobe.compiler.ir import BOOL, I64, LITERAL, U64, Const, Expression
from multiprobe.compiler.program import Helper, Program, is_module
from multiprobe.compiler.shape import MAX_ARGUMENTS
from multiprobe.errors import CompileError
from multiprobe.maps.specs import Hash, MapSpec, PerFunction, RowArray
from multiprobe.maps.tasks import PerTask
from multiprobe.maps.types import WORD, Integer, StringType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ATTRIBUTES = {
    "function": I64,
    "cookie": U64,
    "ip": U64,
    "arg_count": U64,
    "ret": I64,
    "return_register": U64,
    "is_return": BOOL,
    "session": U64,
    "pid": U64,
    "tid": U64,
    "ns_pid": I64,
    "ns_tid": I64,
    "cpu": U64,
    "time": U64,
    "stack_pointer": U64,
    "kernel_entry": U64,
}
"""What `ctx.NAME` yields."""


class Expressions:
    """Builds expressions. `assigned` are the locals that surely have a value here (None: this code is not reached)."""

    def __init__(self, program: Program, facts: Facts) -> None:
        self.program = program
        self.facts = facts
        self.specs = list(program.maps.values())
        self.used: list[int] = []
        self.needs: set[str] = set()
        self.assigned: set[str] | None = set()
        self.n_temporaries = 0
        self.scope: Scope
        self.pointers = Pointers(self, facts.types)

    def fail(self, node: ast.AST, message: str, *, hint: str = "") -> CompileError:
        return self.scope.source.error(node, message, hint=hint)

    def expression(self, node: ast.expr) -> Expression:
        """The typed form of `node`, whatever its kind."""
        build = self._BUILDERS.get(type(node))
        if build is None:
            what, hint = language.describe(node)
            raise self.fail(node, f"a program can't use {what}", hint=hint)
        made = build(self, node)
        if isinstance(made, ir.Located) and made.at < 0:
            return replace(made, at=self.line(node))
        return made

    def line(self, node: ast.AST) -> int:
        raise NotImplementedError

    def number(self, node: ast.expr) -> Expression:
        """As `expression`, and a number written in the program must fit in 64 bits."""
        made = self.expression(node)
        self.check_fits(node, made)
        return made

    def check_fits(self, node: ast.AST, made: Expression) -> None:
        if isinstance(made, Const) and not kinds.fits(made.value):
            raise self.fail(node, f"{made.value} does not fit in 64 bits")

    # Names

    def _constant(self, node: ast.Constant) -> Expression:
        return self._from_value(node, node.value, repr(node.value))

    def _name(self, node: ast.Name) -> Expression:
        name = node.id
        if name in self.scope.contexts:
            raise self.fail(node, f"{name!r} can't be used as a value", hint=f"ask it for something: {name}.function")
        if self.scope.is_local(name):
            qualified = self.scope.qualified(name)
            if self.assigned is not None and qualified not in self.assigned:
                raise self.fail(
                    node, f"{name!r} may have no value here", hint="assign it on every path that leads here"
                )
            return ir.Local(qualified, self.facts.of(qualified))
        return self._from_value(node, self._outside(node), name)

    def _from_value(self, node: ast.AST, item: object, text: str) -> Expression:
        if isinstance(item, bool):
            return Const(int(item), BOOL)
        if isinstance(item, int):
            return Const(int(item))
        if isinstance(item, MapSpec):
            raise self.fail(node, f"the map {text!r} can't be used as a value", hint=f"take an item: {text}[…]")
        if isinstance(item, Integer):
            raise self.fail(node, f"the type {text} can't be used as a value", hint=f"convert with {text}(…)")
        kind = "None" if item is None else type(item).__name__
        raise self.fail(
            node, f"{text} is a {kind}" if item is not None else "None is no value", hint="programs handle integers"
        )

    def _outside(self, node: ast.Name) -> object:
        item = self.scope.outside(node.id)
        if item is MISSING:
            raise self.fail(node, f"name {node.id!r} is not defined")
        return item

    def value_of(self, node: ast.expr) -> object:
        """The Python value that `node` names outside of the program (a name, or a name in a module), or MISSING."""
        if isinstance(node, ast.Name) and not self.scope.is_local(node.id):
            return self._outside(node)
        if isinstance(node, ast.Attribute):
            owner = self.value_of(node.value)
            if is_module(owner):
                if not hasattr(owner, node.attr):
                    raise self.fail(node, f"module {ast.unparse(node.value)!r} has no {node.attr!r}")
                return getattr(owner, node.attr)
        return MISSING

    def is_context(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id in self.scope.contexts

    def _attribute(self, node: ast.Attribute) -> Expression:
        if self.is_context(node.value):
            return self._ask(node, node.attr)
        item = self.value_of(node)
        if item is MISSING:
            return self.pointers.attribute(node)
        return self._from_value(node, item, ast.unparse(node))

    def is_simple(self, node: ast.Attribute) -> bool:
        """Whether this is `ctx.NAME` or `module.NAME`."""
        return self.is_context(node.value) or self.value_of(node) is not MISSING

    def decayed(self, made: Expression) -> Expression:
        """`made`, as a mere number if it is a pointer."""
        return ir.Convert(made, WORD, U64) if ir.is_pointer(made.kind) else made

    def _ask(self, node: ast.Attribute, name: str) -> Expression:
        if name == "args":
            raise self.fail(node, "which argument?", hint="ctx.args.NAME, by the name in the kernel's sources")
        if name == "arg":
            raise self.fail(node, "which argument?", hint="ctx.arg(0) is the first")
        if name == "task":
            return ir.Read(name, self.facts.types.named("struct", "task_struct").pointer.kind)
        if name == "comm":
            raise self.fail(node, "ctx.comm is a string", hint=STRING_HINT)
        if name not in ATTRIBUTES:
            known = ", ".join((*ATTRIBUTES, "task", "args.NAME", "arg(n)"))
            raise self.fail(node, f"ctx has no {name!r}", hint=f"it has {known}")
        self.needs.add({"tid": "pid", "ns_tid": "ns_pid"}.get(name, name))
        return ir.Read(name, ATTRIBUTES[name])

    # Operators

    def _binary(self, node: ast.BinOp) -> Expression:
        op = language.BINARY.get(type(node.op))
        if op is None:
            what, hint = language.describe(node.op)
            raise self.fail(node, f"a program can't use {what}", hint=hint)
        return self.operate(node, op, self.expression(node.left), self.expression(node.right))

    def operate(self, node: ast.AST, op: str, left: Expression, right: Expression) -> Expression:
        """`left op right`, calculated now if both are numbers as written.

        Truth values never are: what they yield must not depend on whether the compiler happens to know them.
        """
        if isinstance(left, Const) and isinstance(right, Const) and left.kind == right.kind == LITERAL:
            result = kinds.fold(op, left.value, right.value)
            if result is not None:
                return Const(result)
            why = "division by zero" if right.value == 0 else f"{right.value} is no count to shift or raise by"
            raise self.fail(node, why)
        if op == "pow":
            raise self.fail(node, "** needs numbers that are known when compiling")
        for operand in (left, right):
            self.check_fits(node, operand)
        if op in ("add", "sub") and (ir.is_pointer(left.kind) or ir.is_pointer(right.kind)):
            hint = "p[n] is an item, mp.u64(p) + n the address n bytes further"
            raise self.fail(node, "there is no arithmetic with pointers", hint=hint)
        left, right = self.decayed(left), self.decayed(right)
        kind = kinds.of_shift(left) if op in ("shl", "shr") else kinds.of_arithmetic(left, right)
        return ir.BinaryOperation(op, left, right, kind)

    def _unary(self, node: ast.UnaryOp) -> Expression:
        if isinstance(node.op, ast.Not):
            return self.negated(self.expression(node.operand))
        operand = self.expression(node.operand)
        if isinstance(operand, Const) and operand.kind == LITERAL:
            if isinstance(node.op, ast.Invert):
                return Const(~operand.value)
            return Const(-operand.value if isinstance(node.op, ast.USub) else operand.value)
        self.check_fits(node, operand)
        operand = self.decayed(operand)
        if isinstance(node.op, ast.Invert):
            return ir.BinaryOperation("xor", operand, Const(-1), kinds.of_unary(operand))
        if isinstance(node.op, ast.USub):
            return ir.BinaryOperation("sub", Const(0), operand, kinds.of_unary(operand))
        return operand if operand.kind != BOOL else ir.BinaryOperation("add", operand, Const(0), LITERAL)

    def negated(self, operand: Expression) -> Expression:
        if isinstance(operand, Const):
            return Const(int(not operand.value), BOOL)
        return ir.Not(operand)

    def _logical(self, node: ast.BoolOp) -> Expression:
        is_and = isinstance(node.op, ast.And)
        operands = [self._branch(part) if n else self.number(part) for n, part in enumerate(node.values)]
        result = operands[-1]
        for operand in reversed(operands[:-1]):
            if isinstance(operand, Const):
                result = result if bool(operand.value) == is_and else operand
            else:
                kind = kinds.join(kinds.alone(operand), kinds.alone(result))
                result = ir.Logical(is_and, operand, result, kind)
        return result

    def _branch(self, node: ast.expr) -> Expression:
        """An expression that may not be evaluated: what it assigns counts for nothing after it."""
        before = None if self.assigned is None else set(self.assigned)
        made = self.number(node)
        self.assigned = before
        return made

    def _conditional(self, node: ast.IfExp) -> Expression:
        test = self.number(node.test)
        then, other = self._branch(node.body), self._branch(node.orelse)
        if isinstance(test, Const):
            return then if test.value else other
        return ir.Conditional(test, then, other, kinds.join(kinds.alone(then), kinds.alone(other)))

    def _comparison(self, node: ast.Compare) -> Expression:
        strings = compare_strings(self, node)
        if strings is not None:
            return strings
        parts: list[Expression] = []
        if membership.is_none(node.comparators[0]) and len(node.ops) == 1:
            return membership.compare_with_none(self, node, node.ops[0])
        left = self.number(node.left) if not isinstance(node.ops[0], ast.In | ast.NotIn) or len(node.ops) > 1 else None
        for n, (op, right_node) in enumerate(zip(node.ops, node.comparators, strict=True)):
            if isinstance(op, ast.In | ast.NotIn):
                if len(node.ops) > 1:
                    raise self.fail(node, "`in` can't be part of a chain of comparisons")
                return membership.contains(self, node, right_node, is_in=isinstance(op, ast.In))
            assert left is not None
            right = self.number(right_node) if n == 0 else self._branch(right_node)
            again = right
            if n + 1 < len(node.ops):
                right, again = self.keep(right)
            parts.append(self.compare(node, op, left, right))
            left = again
        result = parts[-1]
        for part in reversed(parts[:-1]):
            result = ir.Logical(True, part, result, BOOL)
        return result

    def compare(self, node: ast.Compare, op: ast.cmpop, left: Expression, right: Expression) -> Expression:
        name = language.COMPARISON.get(type(op))
        if name is None:
            what, hint = language.describe(op)
            raise self.fail(node, f"a program can't use {what}", hint=hint)
        if isinstance(left, Const) and isinstance(right, Const):
            return Const(int(kinds.COMPARE[name](left.value, right.value)), BOOL)
        left, right = self.decayed(left), self.decayed(right)
        for one, two in ((left, right), (right, left)):
            if isinstance(one, Const) and one.kind == LITERAL and one.value < 0 and two.kind == U64:
                raise self.fail(
                    node, f"a value without a sign is never {one.value}", hint="convert it first: mp.i64(…), mp.i32(…)"
                )
        return ir.Compare(name, left, right)

    def keep(self, made: Expression) -> tuple[Expression, Expression]:
        """`made` to be evaluated now, and the same value to be used again."""
        if isinstance(made, Const | ir.Local):
            return made, made
        name = self.temporary(made.kind)
        local = ir.Local(name, made.kind)
        return ir.Inline((ir.Assign(-1, name, made),), local, made.kind), local

    def temporary(self, kind: str) -> str:
        """A new local of the compiler's own."""
        self.n_temporaries += 1
        name = f"{self.scope.prefix}.{self.n_temporaries}"
        self.facts.learn(name, kind)
        return name

    # Maps

    def map_of(self, node: ast.expr) -> tuple[int, MapSpec] | None:
        """The map that `node` names: its index among the program's maps, and its spec."""
        item = self.value_of(node)
        if not isinstance(item, MapSpec):
            return None
        position = next(n for n, spec in enumerate(self.specs) if spec is item)
        if position not in self.used:
            self.used.append(position)
        if isinstance(item, PerFunction) or item.kind == "histogram":
            self.needs.add("cpu")
        return self.used.index(position), item

    def key(self, spec: MapSpec, node: ast.expr) -> ir.Key:
        """The parts of a map's key; none for the current task, which is the only key of a PerTask."""
        if isinstance(spec, PerTask):
            self._require_task(node)
            return ()
        if isinstance(spec, RowArray):
            if not isinstance(node, ast.Tuple) or len(node.elts) != 2:
                raise self.fail(node, "an item of this map has a row and a place: m[row, place]")
            return tuple(self.number(part) for part in node.elts)
        if not isinstance(spec, Hash):
            return (self.number(node),)
        parts, types = [node], spec.keys
        if spec.is_tuple:
            if not isinstance(node, ast.Tuple) or len(node.elts) != len(types):
                raise self.fail(node, f"a key of this map has {len(types)} parts")
            parts = node.elts
        return tuple(
            self._key_string(part) if isinstance(type_, StringType) else self.number(part)
            for part, type_ in zip(parts, types, strict=True)
        )

    def _require_task(self, node: ast.expr) -> None:
        if not isinstance(node, ast.Attribute) or not self.is_context(node.value) or node.attr != "task":
            raise self.fail(node, "the only key of this map is the current task", hint="m[ctx.task]")

    def _key_string(self, node: ast.expr) -> ir.String:
        found = need_string(self, node)
        if found.size is not None:
            hint = "compare it, or send it in an event"
            raise self.fail(node, "a string with a size can't be a key: bytes after its NUL would count", hint=hint)
        return found

    def item(self, node: ast.Subscript) -> tuple[int, MapSpec, ir.Key]:
        """Map, spec and key of `map[key]`."""
        found = self.map_of(node.value)
        if found is None:
            raise self.fail(node, f"{ast.unparse(node.value)!r} is not a map", hint="only maps have items")
        methods = METHODS.get(found[1].kind, ())
        if methods and not isinstance(found[1], RowArray):
            raise self.fail(node, f"{ast.unparse(node.value)!r} has no items", hint=methods[0].hint)
        return *found, self.key(found[1], node.slice)

    def _subscript(self, node: ast.Subscript) -> Expression:
        if self.map_of(node.value) is None:
            return self.pointers.subscript(node)
        index, spec, key = self.item(node)
        return ir.Load(index, key, kind_of(spec.value))

    # Calls

    def _call(self, node: ast.Call) -> Expression:
        made = call_method(self, node)
        if made is not None:
            return made
        if node.keywords:
            raise self.fail(node.keywords[0].value, "calls in a program take no keyword arguments")
        function = node.func
        if isinstance(function, ast.Attribute) and self.is_context(function.value):
            return self._ask_argument(node, function)
        if isinstance(function, ast.Attribute) and function.attr == "bit_length" and not node.args:
            return ir.BitLength(self.number(function.value))
        item = MISSING if isinstance(function, ast.Call) else self.value_of(function)
        made = self.pointers.call(node, item)
        if made is not None:
            return made
        if isinstance(item, Integer):
            return self.convert(node, item, self._only(node, "converts one value"))
        if isinstance(item, Helper):
            return self.inline(node, item)
        if item is bool:
            return self.truth(self._only(node, "takes one value"))
        if item is min or item is max:
            return self._extreme(node, is_max=item is max)
        if item is abs:
            return self._absolute(node)
        hint = "loops over range(…) are allowed" if item is range else "decorate it with @mp.helper to call it here"
        raise self.fail(node, f"a program can't call {ast.unparse(function)!r}", hint=hint)

    def _only(self, node: ast.Call, text: str) -> Expression:
        if len(node.args) != 1:
            raise self.fail(node, f"{ast.unparse(node.func)} {text}")
        return (
            self.number(node.args[0]) if not isinstance(node.args[0], ast.Constant) else self.expression(node.args[0])
        )

    def _ask_argument(self, node: ast.Call, function: ast.Attribute) -> Expression:
        if function.attr != "arg":
            if function.attr in ATTRIBUTES:
                raise self.fail(node, f"ctx.{function.attr} is a value, not a function")
            self._ask(function, function.attr)
        index = self.expression(node.args[0]) if len(node.args) in (1, 2) else None
        if not isinstance(index, Const):
            raise self.fail(
                node, "ctx.arg takes one number that is known when compiling", hint="ctx.arg(0) is the first"
            )
        if not 0 <= index.value < MAX_ARGUMENTS:
            raise self.fail(node.args[0], f"arguments are numbered from 0 to {MAX_ARGUMENTS - 1}")
        self.needs.add("arg")
        made = ir.Read("arg", U64, index.value)
        return made if len(node.args) == 1 else self.pointers.argument(node, made)

    def convert(self, node: ast.AST, to: Integer, made: Expression) -> Expression:
        """`to(made)`."""
        if to.name == "bool":
            return self.truth(made)
        kind = kind_of(to)
        if isinstance(made, Const):
            return Const(to(made.value), kind)
        return ir.Convert(made, to, kind)

    def truth(self, made: Expression) -> Expression:
        """Whether `made` is not zero."""
        if made.kind == BOOL:
            return made
        if isinstance(made, Const):
            return Const(int(bool(made.value)), BOOL)
        return ir.Compare("ne", self.decayed(made), Const(0))

    def _extreme(self, node: ast.Call, *, is_max: bool) -> Expression:
        values = [self.decayed(self.number(part)) for part in node.args]
        if len(values) < 2:
            raise self.fail(node, "min and max compare two values or more")
        result = values[0]
        for other in values[1:]:
            kind = kinds.join(kinds.alone(result), kinds.alone(other))
            if isinstance(result, Const) and isinstance(other, Const):
                result = kinds.constant((max if is_max else min)(result.value, other.value), kind)
            else:
                result = ir.Extreme(is_max, result, other, kind)
        return result

    def _absolute(self, node: ast.Call) -> Expression:
        operand = self._only(node, "takes one value")
        if isinstance(operand, Const) and operand.kind == LITERAL:
            return Const(abs(operand.value))
        if operand.kind == U64 or ir.is_pointer(operand.kind):
            return self.decayed(operand)
        now, again = self.keep(operand)
        test = ir.Compare("lt", now, Const(0))
        kind = kinds.of_unary(operand)
        return ir.Conditional(test, ir.BinaryOperation("sub", Const(0), again, kind), again, kind)

    def inline(self, node: ast.Call, helper: Helper) -> Expression:
        """A helper's body in place of its call (statements know how)."""
        raise NotImplementedError

    def values_of(self, nodes: Sequence[ast.expr]) -> list[Expression]:
        return [self.number(node) for node in nodes]

    _BUILDERS: ClassVar[dict[type[ast.expr], Callable[..., Expression]]] = {
        ast.Constant: _constant,
        ast.Name: _name,
        ast.Attribute: _attribute,
        ast.BinOp: _binary,
        ast.UnaryOp: _unary,
        ast.BoolOp: _logical,
        ast.IfExp: _conditional,
        ast.Compare: _comparison,
        ast.Subscript: _subscript,
        ast.Call: _call,
    }


def kind_of(type_: Integer) -> str:
    """The kind of a value of this type once it is read."""
    if type_.name == "bool":
        return BOOL
    return I64 if type_.is_signed else U64

"""Python statements to typed ones: the other half of the front end, and its entry `build`.

Knows control flow and which locals surely have a value; must not know LLVM, hooks or the kernel.
"""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from multiprobe.compiler import ir
from multiprobe.compiler.frontend import kinds, language
from multiprobe.compiler.frontend.expressions import Expressions, kind_of
from multiprobe.compiler.frontend.extremes import extreme_update
from multiprobe.compiler.frontend.methods import COMM_SIZE, name_of_task, string_of
from multiprobe.compiler.frontend.scope import Facts, Scope
from multiprobe.compiler.frontend.source import Source
from multiprobe.compiler.frontend.typed import KernelTypes
from multiprobe.compiler.ir import BOOL, Const, Expression, Routine, Statement
from multiprobe.compiler.program import Helper, Program
from multiprobe.functions.kernel import Kernel
from multiprobe.maps.specs import Hash, PerFunction, RowArray
from multiprobe.maps.tasks import PerTask
from multiprobe.maps.types import Integer

if TYPE_CHECKING:
    from collections.abc import Callable

    from multiprobe.compiler.shape import Argument
    from multiprobe.maps.specs import MapSpec

MAX_PASSES = 16
MAX_DEPTH = 16


def build(
    program: Program,
    types: KernelTypes | None = None,
    *,
    arguments: tuple[Argument, ...] | None = None,
    is_session: bool = False,
) -> Routine:
    """The typed program. Raises CompileError for what the language doesn't have.

    `types` are those of the kernel that it is compiled for: the running one, if None. `arguments` are the parameters of
    the functions that it is for, as in `Shape`; `is_session`: it runs at entry and return.
    """
    facts = Facts(KernelTypes.of(Kernel()) if types is None else types, arguments, is_session=is_session)
    source = facts.source(program.function)
    routine = _pass(program, source, facts)
    for _ in range(MAX_PASSES):
        before = dict(facts.kinds)
        routine = _pass(program, source, facts)
        if facts.kinds == before:
            return routine
    raise AssertionError("kinds only ever grow, so this ends")


def _pass(program: Program, source: Source, facts: Facts) -> Routine:
    builder = Builder(program, facts)
    arguments = source.tree.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    scope = Scope(program.function, source, contexts=names)
    builder.scope = scope
    if len(names) != 1 or arguments.vararg or arguments.kwarg or arguments.kwonlyargs or arguments.defaults:
        raise source.error(source.tree, "a program takes one parameter", hint=f"def {program.name}(ctx): …")
    body = builder.block(source.tree.body)
    all_names = list(program.maps)
    return Routine(
        name=program.name,
        file=source.file,
        first_line=source.first,
        body=body,
        locals=dict(facts.kinds),
        maps=tuple(all_names[index] for index in builder.used),
        needs=frozenset(builder.needs),
        text=source.lines,
    )


class Builder(Expressions):
    """Builds statements into `out`."""

    def __init__(self, program: Program, facts: Facts) -> None:
        super().__init__(program, facts)
        self.out: list[Statement] = []
        self.depth = 0
        self.n_inlined = 0

    def block(self, nodes: list[ast.stmt]) -> tuple[Statement, ...]:
        """The statements of a suite; what follows a return or break is never reached and left out."""
        outer, self.out = self.out, []
        for node in nodes:
            if self.assigned is None:
                break
            build = self._STATEMENTS.get(type(node))
            if build is None:
                what, hint = language.describe(node)
                raise self.fail(node, f"a program can't use {what}", hint=hint)
            build(self, node)
        made, self.out = tuple(self.out), outer
        return made

    def line(self, node: ast.AST) -> int:
        """The location of a node; inside a helper, that of its call."""
        return self.call_line if self.depth else self.scope.source.location(node)

    call_line = 0

    # Assignment

    def set_local(self, node: ast.AST, name: str, made: Expression) -> None:
        """`name = made`, by the local's qualified name."""
        self.check_fits(node, made)
        self.facts.learn(name, kinds.alone(made))
        if self.assigned is not None:
            self.assigned.add(name)
        self.out.append(ir.Assign(self.line(node), name, made))

    def hold(self, node: ast.AST, made: Expression) -> Expression:
        """`made`, evaluated now, to be used later."""
        if isinstance(made, Const):
            return made
        name = self.temporary(kinds.alone(made))
        self.out.append(ir.Assign(self.line(node), name, made))
        return ir.Local(name, self.facts.of(name))

    def _assign(self, node: ast.Assign) -> None:
        if len(node.targets) == 1 and isinstance(node.targets[0], ast.Tuple):
            self._unpack(node, node.targets[0])
            return
        update = extreme_update(self, node) if len(node.targets) == 1 else None
        if update is not None:
            self.out.append(replace(update, line=self.line(node)))
            return
        if len(node.targets) == 1 and self._stores_string(node, node.targets[0]):
            return
        made = self.number(node.value)
        if len(node.targets) > 1:
            made = self.hold(node, made)
        for target in node.targets:
            self.assign_to(target, made)

    def _stores_string(self, node: ast.Assign, target: ast.expr) -> bool:
        """Build `rows[row, place] = ctx.comm`; False for anything else."""
        found = self.map_of(target.value) if isinstance(target, ast.Subscript) else None
        if not isinstance(target, ast.Subscript) or not found or not isinstance(found[1], RowArray):
            return False
        string = name_of_task(self, node.value) or string_of(self, node.value)
        if string is None:
            return False
        index, spec, key = self.item(target)
        place, size = key[1], spec.value.size
        if string.source not in ("comm", "task") or not isinstance(place, Const) or size != COMM_SIZE // 2:
            raise self.fail(node, "only ctx.comm is stored in rows, at a place that is known when compiling")
        if not 0 <= place.value <= found[1].width - 2:
            raise self.fail(target, f"ctx.comm takes {COMM_SIZE} bytes of the row")
        self.out.append(ir.StoreString(self.line(target), index, key, string, COMM_SIZE))
        return True

    def _unpack(self, node: ast.Assign, target: ast.Tuple) -> None:
        if not isinstance(node.value, ast.Tuple) or len(node.value.elts) != len(target.elts):
            raise self.fail(node.value, f"{len(target.elts)} values are needed here, separated by commas")
        values = [self.hold(part, self.number(part)) for part in node.value.elts]
        for part, made in zip(target.elts, values, strict=True):
            self.assign_to(part, made)

    def assign_to(self, target: ast.expr, made: Expression) -> None:
        """`target = made`."""
        if isinstance(target, ast.Name):
            if target.id in self.scope.contexts:
                raise self.fail(target, f"{target.id!r} can't be assigned")
            self.set_local(target, self.scope.qualified(target.id), made)
        elif isinstance(target, ast.Subscript):
            index, spec, key = self.item(target)
            self.require_own_rows(target, spec)
            self.out.append(ir.Store(self.line(target), index, key, self.convert(target, spec.value, made)))
        elif isinstance(target, ast.Attribute) and self.is_context(target.value):
            self._set_session(target, made)
        else:
            raise self.fail(target, "only locals, items of maps and ctx.session can be assigned")

    def _set_session(self, target: ast.Attribute, made: Expression) -> None:
        if target.attr != "session":
            raise self.fail(target, f"ctx.{target.attr} can't be assigned", hint="only ctx.session can")
        self.needs.add("session")
        self.out.append(ir.SetSession(self.line(target), made))

    def _annotated(self, node: ast.AnnAssign) -> None:
        type_ = self.value_of(node.annotation)
        if not isinstance(node.target, ast.Name) or not isinstance(type_, Integer):
            raise self.fail(node.annotation, "only locals have a type, and it is an integer type", hint="x: mp.u32 = …")
        if node.value is None:
            raise self.fail(node, f"{node.target.id!r} needs a value")
        self.assign_to(node.target, self.convert(node, type_, self.expression(node.value)))

    def _augmented(self, node: ast.AugAssign) -> None:
        op = language.BINARY.get(type(node.op))
        if op is None:
            what, hint = language.describe(node.op)
            raise self.fail(node, f"a program can't use {what}", hint=hint)
        if isinstance(node.target, ast.Subscript):
            self._update(node, node.target, op)
            return
        left = self.expression(_loaded(node.target))
        self.assign_to(node.target, self.operate(node, op, left, self.expression(node.value)))

    def _update(self, node: ast.AugAssign, target: ast.Subscript, op: str) -> None:
        index, spec, key = self.item(target)
        kind = kind_of(spec.value)
        if op in language.ATOMIC and spec.value.size >= 4 and kind != BOOL:
            made = self.number(node.value)
            if op == "sub":
                made = self.operate(node, "sub", Const(0), made)
            made = self.convert(node, spec.value, made)
            if ir.has_calls((key, made)):  # as in Python: first the key, then the value
                key = tuple(p if isinstance(p, ir.Read | ir.String) else self.hold(target, p) for p in key)
            self.out.append(ir.Update(self.line(node), index, key, language.ATOMIC[op], made))
            return
        self.require_own_rows(target, spec)
        held = tuple(p if isinstance(p, ir.String) else self.hold(target, p) for p in key)
        made = self.operate(node, op, ir.Load(index, held, kind), self.expression(node.value))
        self.out.append(ir.Store(self.line(node), index, held, self.convert(node, spec.value, made)))

    def require_own_rows(self, node: ast.AST, spec: MapSpec) -> None:
        """Raise CompileError for a write that another CPU's write to the same row may undo."""
        if isinstance(spec, PerFunction) and spec.shared:
            hint = "add to it, or replace it by the larger one: m[f] = max(m[f], mp.u64(x))"
            raise self.fail(node, "CPUs may share these slots: a value can't be assigned", hint=hint)

    def _delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            found = self.map_of(target.value) if isinstance(target, ast.Subscript) else None
            if found is None or not isinstance(found[1], Hash | PerTask):
                raise self.fail(target, "only keys of a Hash can be deleted, and values of a PerTask")
            assert isinstance(target, ast.Subscript)
            self.out.append(ir.Delete(self.line(target), found[0], self.key(found[1], target.slice)))

    # Control flow

    def _if(self, node: ast.If) -> None:
        test = self.number(node.test)
        if isinstance(test, Const):
            self.out.extend(self.block(node.body if test.value else node.orelse))
            return
        before = self._now()
        then = self.block(node.body)
        after_then, self.assigned = self.assigned, before
        other = self.block(node.orelse)
        self.assigned = _either(after_then, self.assigned)
        self.out.append(ir.If(self.line(node), test, then, other))

    def _now(self) -> set[str] | None:
        return None if self.assigned is None else set(self.assigned)

    def _for(self, node: ast.For) -> None:
        if node.orelse:
            raise self.fail(node.orelse[0], "loops have no else here")
        if not isinstance(node.target, ast.Name):
            raise self.fail(node.target, "a loop counts in one local")
        values = self._range(node.iter)
        if not values:
            return
        name = self.scope.qualified(node.target.id)
        self.facts.learn(name, kinds.join(kinds.alone(Const(values[0])), kinds.alone(Const(values[-1]))))
        assert self.assigned is not None
        self.assigned.add(name)
        before = self._now()
        self.scope.loops += 1
        body = self.block(node.body)
        self.scope.loops -= 1
        self.assigned = before
        self.out.append(ir.Count(self.line(node), name, values, body))

    def _range(self, node: ast.expr) -> range:
        hint = "for i in range(10): …, with `if i == n: break` where n is only known when running"
        if not isinstance(node, ast.Call) or self.value_of(node.func) is not range or node.keywords:
            raise self.fail(node, "loops go over range(…)", hint=hint)
        values = [self.number(part) for part in node.args]
        bounds = [made.value for made in values if isinstance(made, Const)]
        if len(bounds) < len(values) or not 1 <= len(bounds) <= 3:
            raise self.fail(node, "range needs numbers that are known when compiling", hint=hint)
        try:
            return range(*bounds)
        except ValueError as error:
            raise self.fail(node, str(error)) from None

    def _while(self, node: ast.While) -> None:
        if node.orelse:
            raise self.fail(node.orelse[0], "loops have no else here")
        before = self._now()
        test = self.number(node.test)
        if isinstance(test, Const) and not test.value:
            return
        self.scope.loops += 1
        body = self.block(node.body)
        self.scope.loops -= 1
        self.assigned = before
        self.out.append(ir.While(self.line(node), test, body, self.program.loop_limit))

    def _jump(self, node: ast.Break | ast.Continue) -> None:
        self.out.append(ir.Jump(self.line(node), isinstance(node, ast.Break)))
        self.assigned = None

    def _return(self, node: ast.Return) -> None:
        is_nothing = node.value is None or (isinstance(node.value, ast.Constant) and node.value.value is None)
        if self.scope.result is None:
            self.out.append(ir.Leave(self.line(node), None if is_nothing else self._veto(node)))
        elif is_nothing:
            self.out.append(ir.Leave(self.line(node)))
            self.scope.has_result = False
        else:
            assert node.value is not None
            made = self.number(node.value)
            self.facts.learn(self.scope.result, kinds.alone(made))
            self.out.append(ir.Leave(self.line(node), made))
        self.assigned = None

    def _veto(self, node: ast.Return) -> Expression:
        """The value that a session's program returns: from the entry, 1 skips the return side."""
        assert node.value is not None
        if not self.facts.is_session:
            hint = 'keep what it finds in a map; when="session" may return 1, to skip the return side'
            raise self.fail(node.value, "a program returns nothing", hint=hint)
        made = self.number(node.value)
        if made.kind != BOOL and not (isinstance(made, Const) and made.value in (0, 1)):
            hint = "return 1 or True from the entry to skip the return side, or a comparison"
            raise self.fail(node.value, "a session's program returns 0, 1 or a truth value", hint=hint)
        self.needs.add("veto")
        return made

    def _pass(self, node: ast.Pass) -> None:
        """Nothing."""

    def _evaluate(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return  # a docstring
        if isinstance(node.value, ast.Call):
            item = self.value_of(node.value.func)
            made = (
                self.inline(node.value, item, is_value=False)
                if isinstance(item, Helper)
                else self.expression(node.value)
            )
            self.out.append(ir.Evaluate(self.line(node), made))
            return
        self.expression(node.value)
        raise self.fail(node, "this does nothing")

    # Helpers

    def inline(self, node: ast.Call, helper: Helper, *, is_value: bool = True) -> Expression:
        """A helper's body in place of its call, with locals of its own."""
        function = helper.function
        source = self.facts.source(function)
        parameters = [argument.arg for argument in (*source.tree.args.posonlyargs, *source.tree.args.args)]
        if len(parameters) != len(node.args):
            raise self.fail(node, f"{function.__name__} takes {len(parameters)} values, not {len(node.args)}")
        if self.depth == MAX_DEPTH:
            raise self.fail(node, f"{function.__name__} calls itself, or helpers call each other too deeply")
        self.n_inlined += 1
        inner = Scope(function, source, prefix=f"{function.__name__}.{self.n_inlined}.")
        inner.result = f"{inner.prefix}return"
        inner.has_result = True
        outer_scope, outer_out, outer_line = self.scope, self.out, self.call_line
        self.call_line, self.out = self.line(node), []
        self._pass_arguments(node, inner, parameters)
        before = self._now()
        self.scope, self.depth = inner, self.depth + 1
        try:
            body = (*self.out, *self.block(source.tree.body))
        finally:
            self.scope, self.out, self.call_line = outer_scope, outer_out, outer_line
            self.depth -= 1
        falls_off = self.assigned is not None
        self.assigned = before
        if is_value and (falls_off or not inner.has_result):
            raise self.fail(node, f"{function.__name__} doesn't return a value on every path")
        if inner.result not in self.facts.kinds:
            self.facts.learn(inner.result, BOOL)
        kind = self.facts.of(inner.result)
        return ir.Inline(body, ir.Local(inner.result, kind), kind)

    def _pass_arguments(self, node: ast.Call, inner: Scope, parameters: list[str]) -> None:
        for parameter, given in zip(parameters, node.args, strict=True):
            if self.is_context(given):
                inner.contexts.add(parameter)
            else:
                self.set_local(given, inner.qualified(parameter), self.number(given))

    _STATEMENTS: ClassVar[dict[type[ast.stmt], Callable[..., None]]] = {
        ast.Assign: _assign,
        ast.AnnAssign: _annotated,
        ast.AugAssign: _augmented,
        ast.Delete: _delete,
        ast.If: _if,
        ast.For: _for,
        ast.While: _while,
        ast.Break: _jump,
        ast.Continue: _jump,
        ast.Return: _return,
        ast.Pass: _pass,
        ast.Expr: _evaluate,
    }


def _loaded(target: ast.expr) -> ast.expr:
    """An assignment's target, as the expression that reads it."""
    if isinstance(target, ast.Attribute):
        return ast.copy_location(ast.Attribute(target.value, target.attr, ast.Load()), target)
    return target


def _either(one: set[str] | None, other: set[str] | None) -> set[str] | None:
    if one is None or other is None:
        return other if one is None else one
    return one & other

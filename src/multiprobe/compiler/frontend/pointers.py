"""Typed pointers in a program: members, items, casts, and what else looks at the kernel's memory.

Knows Python's syntax for them and the kernel's types; what a read becomes is the business of `peeks`.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.compiler import ir, kernel_types
from multiprobe.compiler.frontend import typed
from multiprobe.compiler.frontend.scope import MISSING
from multiprobe.compiler.frontend.typed import KernelTypes, Ref
from multiprobe.compiler.ir import BOOL, I64, U64, Const, Expression
from multiprobe.compiler.layouts import locate, named
from multiprobe.errors import CompileError, NotSupportedError, UsageError
from multiprobe.maps.types import WORD, Integer

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from multiprobe.compiler.frontend.building import ExpressionBuilder

    T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Lvalue:
    """A value of type `ref` in the kernel's memory, `offset` bytes after `address`; of a bit field, its bits."""

    address: Expression
    offset: int
    ref: Ref
    shift: int = 0
    bits: int = 0


class Pointers:
    """The part of the front end that knows what lies behind an address."""

    def __init__(self, builder: ExpressionBuilder, types: KernelTypes) -> None:
        self.b = builder
        self.types = types

    def ask(self, node: ast.AST, question: Callable[..., T], *arguments: object) -> T:
        """Ask the types; what they don't know is an error at `node`."""
        try:
            return question(*arguments)
        except UsageError as error:
            raise self.b.fail(node, error.message, hint=error.hint) from None

    # Members and items

    def attribute(self, node: ast.Attribute) -> Expression:
        """`p.member`, read; an enum's constant; `ctx.args.NAME`."""
        if self._is_args(node.value):
            return self._named_argument(node)
        spec = self.spec(node.value)
        if isinstance(spec, kernel_types.Enum):
            return self._enumerator(node, spec)
        return self.read(node, self._member(node))

    def subscript(self, node: ast.Subscript) -> Expression:
        """`p[i]`, read."""
        return self.read(node, self._item(node))

    def lvalue(self, node: ast.expr) -> Lvalue | Expression:
        """Where the value of an expression is in the kernel's memory, or the value itself if it isn't there."""
        if isinstance(node, ast.Attribute) and self._is_member(node):
            return self._member(node)
        if isinstance(node, ast.Subscript) and self.b.map_of(node.value) is None:
            return self._item(node)
        return self.b.expression(node)

    def _is_member(self, node: ast.Attribute) -> bool:
        return not (self.b.is_simple(node) or self._is_args(node.value)) and self.spec(node.value) is None

    def _is_args(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Attribute) and node.attr == "args" and self.b.is_context(node.value)

    def _named_argument(self, node: ast.Attribute) -> Expression:
        known = self.b.facts.arguments
        if known is None:
            text = f"{ast.unparse(node)}: the functions aren't known that would have such an argument"
            raise NotSupportedError(text, hint="it is compiled when it is attached")
        found = next((argument for argument in known if argument.name == node.attr), None)
        if found is None:
            raise self.b.fail(
                node, f"no function has an argument {node.attr!r}", hint="the names are those of the kernel's sources"
            )
        if found.problem:
            raise self.b.fail(node, found.problem, hint="choose fewer functions, or use ctx.arg(n)")
        self.b.needs.add("arg")
        raw = ir.Read("arg", U64, found.position)
        return self.convert(node, raw, Ref(found.type_id, found.stars, found.module))

    def _member(self, node: ast.Attribute) -> Lvalue:
        owner = self.lvalue(node.value)
        if isinstance(owner, Lvalue) and not self.types.is_record(owner.ref):
            owner = self._read_pointer(node, owner)
        if not isinstance(owner, Lvalue):
            ref = typed.of_kind(owner.kind)
            if ref is None:
                raise self.b.fail(node, f"a value has no {node.attr!r}", hint="it is a number, not a pointer")
            owner = self._behind(node, owner, ref)
        field, ref = self.ask(node, self.types.field, owner.ref, node.attr)
        if not field.bits:
            return Lvalue(owner.address, owner.offset + field.offset, ref)
        return Lvalue(owner.address, owner.offset + field.offset, ref, field.bit_offset % 8, field.bits)

    def _read_pointer(self, node: ast.Attribute, owner: Lvalue) -> Expression:
        if not owner.ref.stars:
            raise self.b.fail(node, f"{self.types.spell(owner.ref)} has no members, and no {node.attr!r}")
        return self.read(node, owner)

    def _behind(self, node: ast.Attribute, pointer: Expression, ref: Ref) -> Lvalue:
        if self.types.is_record(ref.target):
            return Lvalue(pointer, 0, ref.target)
        hint = f"take an item first: {ast.unparse(node.value)}[0].{node.attr}" if ref.stars > 1 else ""
        if not ref.target.stars and not ref.target.type_id:
            hint = 'say what it points to: mp.struct("…")(pointer)'
        raise self.b.fail(node, f"{self.types.spell(ref)} has no members, and no {node.attr!r}", hint=hint)

    def _item(self, node: ast.Subscript) -> Lvalue:
        outside = self.b.value_of(node.value) if isinstance(node.value, ast.Name | ast.Attribute) else MISSING
        if outside is not MISSING:
            raise self._no_items(node)
        owner = self.lvalue(node.value)
        if isinstance(owner, Lvalue):
            array = self.types.array(owner.ref)
            if array is not None:
                return self._element(node, owner, *array)
            if owner.ref.stars:
                owner = self.read(node, owner)
        ref = None if isinstance(owner, Lvalue) else typed.of_kind(owner.kind)
        if isinstance(owner, Lvalue) or ref is None:
            raise self._no_items(node)
        return self._element(node, Lvalue(owner, 0, ref), ref.target, None)

    def _no_items(self, node: ast.Subscript) -> CompileError:
        what = f"{ast.unparse(node.value)!r} is not a map"
        return self.b.fail(node, what, hint="only maps, arrays and pointers have items")

    def _element(self, node: ast.Subscript, start: Lvalue, ref: Ref, n: int | None) -> Lvalue:
        """Item `node.slice` of those that begin at `start`; there are `n` (None or 0: as many as one likes)."""
        size = self.types.size(ref)
        if not size:
            raise self.b.fail(node, f"items of type {self.types.spell(ref)} have no size")
        index = self.b.number(node.slice)
        if isinstance(index, Const):
            if n and not 0 <= index.value < n:
                raise self.b.fail(node.slice, f"the items are numbered from 0 to {n - 1}")
            return Lvalue(start.address, start.offset + index.value * size, ref)
        offset = ir.BinaryOperation("mul", self.b.decayed(index), Const(size), index.kind if index.kind == I64 else U64)
        return Lvalue(ir.BinaryOperation("add", self.b.decayed(start.address), offset, U64), start.offset, ref)

    # Reading

    def read(self, node: ast.AST, lvalue: Lvalue) -> Expression:
        """The value of an lvalue. What has no value of its own, an array or a struct, is its address."""
        types, ref = self.types, lvalue.ref
        array = types.array(ref)
        if array is not None:
            return self.address(lvalue, array[0].pointer)
        if types.is_record(ref):
            return self.address(lvalue, ref.pointer)
        if ref.stars:
            is_function = types.is_function(ref.target)
            return ir.Peek(
                lvalue.address, lvalue.offset, 8, False, U64 if is_function else ref.kind, is_user=ref.is_user
            )
        scalar = types.scalar(ref)
        size = types.size(ref)
        if scalar is None or size > 8:
            what = f"{types.spell(ref)}, {size} bytes" if size else types.spell(ref)
            raise self.b.fail(node, f"a program has no values of this type: {what}", hint="mp.address_of(…) is there")
        kind = BOOL if scalar.is_bool and not lvalue.bits else I64 if scalar.is_signed else U64
        if lvalue.bits:
            size = (lvalue.shift + lvalue.bits + 7) // 8
            if size > 8:
                raise self.b.fail(node, "a bit field that lies in nine bytes can't be read")
        sign, shift, bits = scalar.is_signed, lvalue.shift, lvalue.bits
        is_task = not bits and self._is_of_task(node)
        return ir.Peek(lvalue.address, lvalue.offset, size, sign, kind, shift, bits, ref.is_user, is_task)

    def _is_of_task(self, node: ast.AST) -> bool:
        """Whether `node` is `ctx.task.NAME`. Members of its members aren't: the verifier takes a union for the first
        type in it."""
        match node:
            case ast.Attribute(value=ast.Attribute(value=context, attr="task")):
                return self.b.is_context(context)
        return False

    def address(self, lvalue: Lvalue, ref: Ref) -> Expression:
        """The address of an lvalue, as a pointer of type `ref`."""
        address = self.b.decayed(lvalue.address)
        if lvalue.offset:
            address = ir.BinaryOperation("add", address, Const(lvalue.offset), U64)
        return ir.Convert(address, WORD, ref.kind)

    # Calls

    def spec(self, node: ast.expr) -> object:
        """The struct or enum of the kernel that `node` names: `mp.struct("sock")`, or a variable for it."""
        if isinstance(node, ast.Call):
            item = self.b.value_of(node.func) if isinstance(node.func, ast.Name | ast.Attribute) else None
            for factory in (kernel_types.struct, kernel_types.union, kernel_types.enum):
                if item is factory and node.keywords:
                    text = ast.unparse(node)
                    raise self.b.fail(node, f"{text}: make it outside of the program", hint="name it there")
                if item is factory:
                    return self.ask(node, factory, self._text(node, 0, 1))
            return None
        if isinstance(node, ast.Name | ast.Attribute):
            item = self.b.value_of(node)
            if isinstance(item, kernel_types.Struct | kernel_types.Enum):
                return item
        return None

    def call(self, node: ast.Call, item: object) -> Expression | None:
        """A call of something of this room, or None if it is something else."""
        spec = self.spec(node.func)
        if isinstance(spec, kernel_types.Struct):
            return self.convert(node, self._only(node), self.ask(node, named, self.types, spec).pointer)
        if isinstance(spec, kernel_types.Enum):
            raise self.b.fail(node, "an enum has constants", hint='mp.enum("…").NAME')
        if item is kernel_types.cast:
            return self.convert(node, self.b.number(self._argument(node, 1, 2)), self._spelled(node, 0, 2))
        if item is kernel_types.user:
            return self._user(node)
        if item is kernel_types.container_of:
            return self._container_of(node)
        if item is kernel_types.address_of:
            return self._address_of(node)
        if item is kernel_types.per_cpu:
            return self._per_cpu(node)
        if item in (kernel_types.struct, kernel_types.union, kernel_types.enum):
            text = ast.unparse(node)
            raise self.b.fail(node, f"the type {text} can't be used as a value", hint=f"of an address: {text}(…)")
        return None

    def argument(self, node: ast.Call, raw: Expression) -> Expression:
        """`ctx.arg(n, "struct sock *")`."""
        return self.convert(node, raw, self._spelled(node, 1, 2))

    def convert(self, node: ast.AST, made: Expression, ref: Ref) -> Expression:
        """A number as a value of a C type: a pointer, or an integer of its width and sign."""
        types = self.types
        if ref.stars:
            return ir.Convert(made, WORD, U64 if types.is_function(ref.target) else ref.kind)
        scalar = types.scalar(ref)
        if scalar is None or scalar.size > 8:
            raise self.b.fail(
                node,
                f"{types.spell(ref)} is no type of a value here",
                hint='an integer or a pointer is: "struct sock *"',
            )
        to = typed.integer_of(scalar)
        return self.b.convert(node, to, ir.Convert(made, Integer("u8", 1, False), U64) if scalar.is_bool else made)

    def _user(self, node: ast.Call) -> Expression:
        pointer = self.b.expression(self._argument(node, 0, 1))
        ref = typed.of_kind(pointer.kind)
        if ref is None:
            raise self.b.fail(node.args[0], "a typed pointer is needed here", hint='mp.user(mp.cast("u64 *", address))')
        return ir.Convert(pointer, WORD, ref.in_user_memory.kind)

    def _container_of(self, node: ast.Call) -> Expression:
        pointer = self.b.number(self._argument(node, 0, 3))
        ref = self._spelled(node, 1, 3)
        if not self.types.is_record(ref):
            raise self.b.fail(node.args[1], f"{self.types.spell(ref)} has no members", hint='write "struct x"')
        bit_offset, bits, _ = self.ask(node.args[2], locate, self.types, ref, self._text(node, 2, 3))
        if bits:
            raise self.b.fail(node.args[2], "a bit field has no address")
        address = ir.BinaryOperation("sub", self.b.decayed(pointer), Const(bit_offset // 8), U64)
        return ir.Convert(address, WORD, ref.pointer.kind)

    def _address_of(self, node: ast.Call) -> Expression:
        lvalue = self.lvalue(self._argument(node, 0, 1))
        if not isinstance(lvalue, Lvalue):
            raise self.b.fail(node.args[0], "only members and items in the kernel's memory have an address")
        if lvalue.bits:
            raise self.b.fail(node.args[0], "a bit field has no address")
        return self.address(lvalue, lvalue.ref.pointer)

    def _per_cpu(self, node: ast.Call) -> Expression:
        n = len(node.args)
        if n not in (1, 2):
            raise self.b.fail(node, "mp.per_cpu takes a name, and perhaps a CPU")
        variable, ref = self.ask(node.args[0], self.types.variable, self._text(node, 0, n))
        return ir.PerCpu(variable, self.b.number(node.args[1]) if n == 2 else None, ref.pointer.kind)

    def _enumerator(self, node: ast.Attribute, spec: kernel_types.Enum) -> Expression:
        ref = self.ask(node, named, self.types, spec)
        values = self.types.enumerators(ref)
        if node.attr not in values:
            raise self.b.fail(node, f"enum {spec.name} has no {node.attr!r}", hint=typed.close(node.attr, set(values)))
        return Const(values[node.attr])

    # Arguments of calls

    def _argument(self, node: ast.Call, n_th: int, n: int) -> ast.expr:
        if len(node.args) != n:
            raise self.b.fail(node, f"{ast.unparse(node.func)} takes {n} values, not {len(node.args)}")
        return node.args[n_th]

    def _only(self, node: ast.Call) -> Expression:
        return self.b.number(self._argument(node, 0, 1))

    def _text(self, node: ast.Call, n_th: int, n: int) -> str:
        given = self._argument(node, n_th, n)
        found = given.value if isinstance(given, ast.Constant) else self.b.value_of(given)
        if not isinstance(found, str):
            raise self.b.fail(given, "a name in quotes is needed here")
        return found

    def _spelled(self, node: ast.Call, n_th: int, n: int) -> Ref:
        text = self._text(node, n_th, n)
        return self.ask(node.args[n_th], self.types.spelled, text)

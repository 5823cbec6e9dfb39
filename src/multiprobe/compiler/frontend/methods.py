"""What maps and strings add to the language: `events.send(…)`, `histogram.add(…)`, `stacks.id(ctx)`, `ctx.comm == "x"`.

Part of the front end: Python's syntax in, typed nodes out. Must not know LLVM, hooks or the kernel.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.compiler import builtins, ir
from multiprobe.compiler.ir import BOOL, I64, U64, Const, Expression
from multiprobe.maps.records import RecordField
from multiprobe.maps.types import Bytes, StringType, Vector

if TYPE_CHECKING:
    from collections.abc import Callable

    from multiprobe.compiler.frontend.building import ExpressionBuilder
    from multiprobe.maps.events import Event, RingBuffer
    from multiprobe.maps.histogram import Histogram
    from multiprobe.maps.specs import MapSpec

STRING_HINT = "strings can be compared with == and !=, sent in events, and be keys of a Hash"
MAX_TEXT = 128
COMM_SIZE = 16
_SOURCES = {builtins.kernel_string: "kernel", builtins.user_string: "user"}


# Strings


def string_of(b: ExpressionBuilder, node: ast.expr) -> ir.String | None:
    """The string that `node` stands for, or None if it is something else."""
    if isinstance(node, ast.IfExp):
        test = b.number(node.test)
        return string_of(b, node.body if test.value else node.orelse) if isinstance(test, Const) else None
    if isinstance(node, ast.Attribute) and node.attr == "comm" and b.is_context(node.value):
        return ir.String("comm")
    if isinstance(node, ast.Call):
        source = _source_of(b, node.func)
        if source is None:
            return None
        if len(node.args) not in (1, 2) or node.keywords:
            raise b.fail(node, f"{ast.unparse(node.func)} takes an address, and a size if it is known")
        address, *sizes = map(b.number, node.args)
        return ir.String(source, address, size=_not_negative(sizes[0]) if sizes else None)
    item = node.value if isinstance(node, ast.Constant) else _outside(b, node)
    if not isinstance(item, str):
        return None
    text = item.encode(errors="surrogateescape")
    if b"\0" in text:
        raise b.fail(node, "no string of the kernel's has a NUL in it")
    return ir.String("text", text=text)


def name_of_task(b: ExpressionBuilder, node: ast.expr) -> ir.String | None:
    """The string that `ctx.task.comm` stands for, which takes two loads where `ctx.comm` takes a helper."""
    match node:
        case ast.IfExp(test=test):
            known = b.number(test)
            return name_of_task(b, node.body if known.value else node.orelse) if isinstance(known, Const) else None
        case ast.Attribute(value=ast.Attribute(value=context, attr="task"), attr="comm") if b.is_context(context):
            types = b.facts.types
            field, _ = types.field(types.named("struct", "task_struct"), "comm")
            return ir.String("task", offset=field.offset)
    return None


def _not_negative(size: Expression) -> Expression:
    return size if size.kind == U64 else ir.Extreme(True, size, Const(0), size.kind)


def _outside(b: ExpressionBuilder, node: ast.expr) -> object:
    return b.value_of(node) if isinstance(node, ast.Name | ast.Attribute) else None


def _source_of(b: ExpressionBuilder, function: ast.expr) -> str | None:
    item = b.value_of(function) if isinstance(function, ast.Name | ast.Attribute) else None
    return next((source for one, source in _SOURCES.items() if item is one), None)


def need_string(b: ExpressionBuilder, node: ast.expr) -> ir.String:
    """The string that `node` must be."""
    found = string_of(b, node)
    if found is None:
        raise b.fail(node, "a string is needed here", hint='ctx.comm, mp.kernel_string(…), mp.user_string(…) or "text"')
    return found


def compare_strings(b: ExpressionBuilder, node: ast.Compare) -> Expression | None:
    """`string == "text"` or `string != "text"`; None if no strings are compared."""
    left, right = string_of(b, node.left), string_of(b, node.comparators[0])
    if left is None and right is None:
        return None
    op = node.ops[0]
    if len(node.ops) > 1 or not isinstance(op, ast.Eq | ast.NotEq):
        raise b.fail(node, "strings are compared with == and !=, two at a time")
    left, right = left or need_string(b, node.left), right or need_string(b, node.comparators[0])
    if left.source == "text":
        left, right = right, left
    if right.source != "text":
        raise b.fail(node, "one of two compared strings must be known when compiling")
    return _same(b, node, left, right.text, is_equal=isinstance(op, ast.Eq))


def _same(b: ExpressionBuilder, node: ast.Compare, string: ir.String, text: bytes, *, is_equal: bool) -> Expression:
    if len(text) > MAX_TEXT:
        raise b.fail(node, f"a string to compare with has up to {MAX_TEXT} bytes, not {len(text)}")
    if string.source == "text":
        return Const(int((string.text == text) == is_equal), BOOL)
    made = ir.SameString(string, text)
    return made if is_equal else ir.Not(made)


# Methods

_OF_BYTES = (builtins.kernel_bytes, builtins.user_bytes)


@dataclass(frozen=True, slots=True)
class Method:
    """A method of a kind of map: its name, how it is built, and what to write."""

    name: str
    build: Callable[[ExpressionBuilder, ast.Call, int, MapSpec], Expression]
    hint: str


def call_method(b: ExpressionBuilder, node: ast.Call) -> Expression | None:
    """A call of a map's method; None for any other call."""
    if isinstance(node.func, ast.Name | ast.Attribute) and b.value_of(node.func) in _OF_BYTES:
        raise b.fail(node, f"{ast.unparse(node.func)} yields memory", hint="send it in an event, in a field of bytes")
    if _source_of(b, node.func) is not None:
        raise b.fail(node, f"{ast.unparse(node.func)} yields a string", hint=STRING_HINT)
    if not isinstance(node.func, ast.Attribute):
        return None
    found = b.map_of(node.func.value)
    if found is None:
        return None
    index, spec = found
    methods, name = METHODS.get(spec.kind, ()), ast.unparse(node.func.value)
    if not methods:
        raise b.fail(node, f"{name!r} is a map without methods", hint=f"take an item: {name}[…]")
    for method in methods:
        if node.func.attr == method.name:
            return method.build(b, node, index, spec)
    raise b.fail(node, f"{name!r} has no {node.func.attr!r}", hint=methods[0].hint)


def _send(b: ExpressionBuilder, node: ast.Call, index: int, spec: MapSpec) -> Expression:
    events: RingBuffer[Event] = spec  # type: ignore[assignment]
    fields = {field.name: field for field in events.record.fields}
    if node.args:
        raise b.fail(node.args[0], "an event's fields are sent by name", hint=f"send({', '.join(fields)}), each with =")
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    for keyword in node.keywords:
        if keyword.arg not in fields:
            raise b.fail(keyword.value, f"{events.event.__name__} has no field {keyword.arg!r}")
    missing = [name for name in fields if name not in given]
    if missing:
        raise b.fail(node, f"{events.event.__name__} needs {', '.join(missing)} too")
    built = {name: _part(b, fields[name], value) for name, value in given.items() if name is not None}
    return ir.Send(index, tuple(built[name] for name in fields))


def _part(b: ExpressionBuilder, field: RecordField, node: ast.expr) -> tuple[Expression, ...] | ir.String:
    type_ = field.type
    if isinstance(type_, StringType):
        is_wide = type_.size >= COMM_SIZE and not field.offset % 8
        return (name_of_task(b, node) if is_wide else None) or need_string(b, node)
    if isinstance(type_, Bytes):
        return _bytes(b, node)
    if not isinstance(type_, Vector):
        return (b.convert(node, type_, b.number(node)),)
    if not isinstance(node, ast.Tuple) or not 1 <= len(node.elts) <= type_.length:
        raise b.fail(node, f"{field.name!r} takes 1 to {type_.length} values", hint=f"{field.name}=(a, b)")
    return tuple(b.convert(part, type_.item, b.number(part)) for part in node.elts)


def _bytes(b: ExpressionBuilder, node: ast.expr) -> ir.String:
    reader = b.value_of(node.func) if isinstance(node, ast.Call) else None
    if not isinstance(node, ast.Call) or reader not in _OF_BYTES or len(node.args) not in (1, 2) or node.keywords:
        raise b.fail(node, "memory is needed here", hint="mp.kernel_bytes(address), mp.user_bytes(address)")
    size = b.number(node.args[1]) if len(node.args) == 2 else None
    return ir.String(reader.__name__, b.number(node.args[0]), size=size)


def _add(b: ExpressionBuilder, node: ast.Call, index: int, spec: MapSpec) -> Expression:
    histogram: Histogram = spec  # type: ignore[assignment]
    wanted = 2 if histogram.per_function else 1
    if node.keywords or len(node.args) != wanted:
        what = "a function and a number: add(ctx.function, …)" if histogram.per_function else "a number"
        raise b.fail(node, f"add takes {what}")
    values = b.values_of(node.args)
    return ir.Tally(index, values[0] if histogram.per_function else None, values[-1])


def _id(b: ExpressionBuilder, node: ast.Call, index: int, spec: MapSpec) -> Expression:
    flag = node.keywords[0].value if node.keywords else ast.Constant(False)
    is_known = isinstance(flag, ast.Constant) and isinstance(flag.value, bool)
    named = [keyword.arg for keyword in node.keywords]
    if len(node.args) != 1 or not b.is_context(node.args[0]) or named not in ([], ["user"]) or not is_known:
        raise b.fail(node, "id takes ctx", hint="id(ctx), or id(ctx, user=True)")
    assert isinstance(flag, ast.Constant)
    return ir.StackId(index, bool(flag.value))


def _fetch_add(b: ExpressionBuilder, node: ast.Call, index: int, spec: MapSpec) -> Expression:
    if node.keywords or len(node.args) != 2:
        raise b.fail(node, "fetch_add takes a key and a number", hint="fetch_add((row, place), 1)")
    return _exchange(b, node, index, spec, expected=None)


def _compare_exchange(b: ExpressionBuilder, node: ast.Call, index: int, spec: MapSpec) -> Expression:
    if node.keywords or len(node.args) != 3:
        hint = "compare_exchange((row, place), before, after)"
        raise b.fail(node, "compare_exchange takes a key, what must be there, and what to store", hint=hint)
    return _exchange(b, node, index, spec, expected=b.convert(node, spec.value, b.number(node.args[1])))


def _exchange(
    b: ExpressionBuilder, node: ast.Call, index: int, spec: MapSpec, *, expected: Expression | None
) -> Expression:
    if spec.value.size < 4:
        raise b.fail(node, f"values of type {spec.value!r} can't be changed in one atomic step", hint="use mp.u64")
    value = b.convert(node, spec.value, b.number(node.args[-1]))
    kind = I64 if spec.value.is_signed else U64
    return ir.Exchange(index, b.key(spec, node.args[0]), value, expected, kind)


METHODS = {
    "ring_buffer": (Method("send", _send, "events are sent: send(field=…)"),),
    "histogram": (Method("add", _add, "numbers are added: add(…)"),),
    "stack_traces": (Method("id", _id, "stacks are taken: id(ctx)"),),
    "row_array": (
        Method("fetch_add", _fetch_add, "it has fetch_add(…) and compare_exchange(…)"),
        Method("compare_exchange", _compare_exchange, "it has fetch_add(…) and compare_exchange(…)"),
    ),
}

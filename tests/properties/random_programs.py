"""Random programs of the language, and what they must do: the same source, run as plain Python on integers that follow
the documented rules. Written from the documentation, and knowing nothing of the compiler.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

MASK = (1 << 64) - 1
TYPES = {"u8": (8, False), "u16": (16, False), "u32": (32, False), "u64": (64, False)}
TYPES |= {"i8": (8, True), "i16": (16, True), "i32": (32, True), "i64": (64, True)}


# The reference: integers as documented


def wrap(number: int, bits: int, is_signed: bool) -> int:
    number &= (1 << bits) - 1
    return number - (1 << bits) if is_signed and number >> (bits - 1) else number


class Number:
    """A 64-bit integer, with a sign or without."""

    def __init__(self, value: int, is_signed: bool) -> None:
        self.value = wrap(value, 64, is_signed)
        self.is_signed = is_signed

    def __bool__(self) -> bool:
        return self.value != 0

    def __index__(self) -> int:
        return self.value

    __int__ = __index__

    def __hash__(self) -> int:
        return hash(self.value)

    def __neg__(self) -> Number:
        return made(-self.value, self)

    def __invert__(self) -> Number:
        return made(~self.value, self)

    def __pos__(self) -> Number:
        return made(self.value, self)

    def __abs__(self) -> Number:
        return made(abs(self.value), self)

    def bit_length(self) -> Number:
        return Number(self.value.bit_length(), True)


class Plain(Number):
    """What was calculated from written numbers and truth values only: it takes the kind of what it meets."""

    def __init__(self, value: int) -> None:
        super().__init__(value, True)


class Flag(Plain):
    """A truth value, as a comparison yields it."""

    def __init__(self, value: object) -> None:
        super().__init__(int(bool(value)))


def made(value: int, *operands: object) -> Number:
    """A result: with a sign if an operand has one, plain if all are."""
    numbers = [one for one in operands if isinstance(one, Number) and not isinstance(one, Plain)]
    return Number(value, any(number.is_signed for number in numbers)) if numbers else Plain(value)


def _operator(name: str, calculate: Any) -> None:
    def forward(self: Number, other: object) -> Number:
        is_signed = made(0, self, other).is_signed
        a, b = wrap(int(self), 64, is_signed), wrap(int(other), 64, is_signed)  # type: ignore[call-overload]
        return made(calculate(a, b), self, other)

    def backward(self: Number, other: int) -> Number:
        is_signed = made(0, self, other).is_signed
        return made(calculate(wrap(other, 64, is_signed), wrap(int(self), 64, is_signed)), self)

    setattr(Number, f"__{name}__", forward)
    setattr(Number, f"__r{name}__", backward)


for _name, _calculate in {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "floordiv": lambda a, b: a // b if b else 0,
    "mod": lambda a, b: a % b if b else a,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
}.items():
    _operator(_name, _calculate)


def _shift(left: object, right: object, *, is_left: bool) -> Number:
    is_large = not isinstance(left, Number) and int(left) >= 1 << 63  # type: ignore[call-overload]
    is_signed = not is_large and made(0, left).is_signed
    a, n = wrap(int(left), 64, is_signed), min(int(right) & MASK, 64)  # type: ignore[call-overload]
    value = a << n if is_left else a >> n
    return Number(value, False) if is_large else made(value, left)


Number.__lshift__ = lambda self, other: _shift(self, other, is_left=True)  # type: ignore[attr-defined]
Number.__rshift__ = lambda self, other: _shift(self, other, is_left=False)  # type: ignore[attr-defined]
Number.__rlshift__ = lambda self, other: _shift(other, self, is_left=True)  # type: ignore[attr-defined]
Number.__rrshift__ = lambda self, other: _shift(other, self, is_left=False)  # type: ignore[attr-defined]
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):

    def _comparison(self: Number, other: Any, _name: str = _name) -> Flag:
        return Flag(getattr(int(self), f"__{_name}__")(int(other)))

    setattr(Number, f"__{_name}__", _comparison)


def _extreme(choose: Any) -> Any:
    def pick(*values: Any) -> Any:
        is_signed = any(
            one.is_signed and not isinstance(one, Plain) if isinstance(one, Number) else one < 0 for one in values
        )
        return Number(int(choose(values, key=int)), is_signed)

    return pick


@dataclass
class Table:
    """A Hash, or an Array when it has a size."""

    type: str
    key_type: str = "u64"
    size: int = 0
    items: dict[int, int] = field(default_factory=dict)

    def _key(self, key: Any) -> int:
        return int(key) & MASK if self.size else wrap(int(key), *TYPES[self.key_type])

    def __getitem__(self, key: Any) -> Number:
        return Number(self.items.get(self._key(key), 0), TYPES[self.type][1])

    def __setitem__(self, key: Any, item: Any) -> None:
        if not self.size or self._key(key) < self.size:
            self.items[self._key(key)] = wrap(int(item), *TYPES[self.type])

    def __delitem__(self, key: Any) -> None:
        self.items.pop(self._key(key), None)

    def __contains__(self, key: Any) -> bool:
        return self._key(key) in self.items


def conversion(name: str) -> Any:
    bits, is_signed = TYPES[name]
    return lambda number: Number(wrap(int(number), bits, is_signed), is_signed)


def reference(arguments: list[int], tables: dict[str, Table]) -> tuple[dict[str, Any], Any]:
    """The names that a program's source needs, and the `ctx` to call it with."""
    types = SimpleNamespace(**{name: conversion(name) for name in TYPES}, bool_=Flag)
    types.program = types.helper = lambda function: function
    names = {"mp": types, "bool": Flag, "min": _extreme(min), "max": _extreme(max), **tables}
    ctx = SimpleNamespace(arg=lambda n: Number(arguments[n], False))
    return names, ctx


# The generator

LITERALS = (0, 1, 2, 3, 5, 7, 8, 10, 31, 32, 63, 64, 100, 127, 128, 255, 256, 1000, 65535, 1 << 31, (1 << 32) - 1)
LARGE = (1 << 32, (1 << 63) - 1, 1 << 63, MASK)
N_OUT = 12
N_ITEMS = 100


class Generator:
    """Writes one program. Expressions come with their kind: "u" and "s" (without and with a sign), "b" (truth), "n" (a
    number as written), "p" (plain: made of the last two)."""

    def __init__(self, seed: int, *, is_small: bool = False) -> None:
        """A small program is one that the kernel's verifier can follow: it walks every path."""
        self.random = random.Random(seed)
        self.most, self.deepest, self.depth = (7, 2, 2) if is_small else (30, 4, 3)
        self.lines: list[str] = []
        self.locals = {"u0": "u", "u1": "u", "s0": "s", "s1": "s", "b0": "b"}
        self.indent = 1
        self.n_statements = 0
        self.n_loops = 0
        self.in_helper = False

    def source(self) -> str:
        self.lines = ["@mp.helper", "def helper(p, q):", "    u0 = mp.u64(p)", "    s0 = mp.i64(q)"]
        self.lines += ["    u1 = u0", "    s1 = s0", "    b0 = u0 > 5"]
        self.in_helper = True
        self.block(1, self.deepest)
        self.emit(f"return {self.certain('s', 2)}")
        self.in_helper = False
        self.lines += ["", "@mp.program", "def program(ctx):"]
        self.emit("u0 = ctx.arg(0)", "u1 = ctx.arg(1)", "s0 = mp.i64(ctx.arg(2))", "s1 = mp.i64(ctx.arg(3))")
        self.emit("b0 = ctx.arg(4) > 100")
        self.block(2, 3 * self.depth)
        for place, name in enumerate(self.locals):
            self.emit(f"out[{place}] = {name}")
        return "\n".join(self.lines) + "\n"

    def emit(self, *lines: str) -> None:
        self.lines += ["    " * self.indent + line for line in lines]

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    # Expressions

    def literal(self, *, kind: str = "s") -> str:
        number = self.random.choice(LITERALS)
        if self.chance(0.1):
            number = self.random.choice(LARGE[:2] if kind == "s" else LARGE)
        return str(-number if kind == "s" and self.chance(0.3) else number)

    def of(self, kind: str, depth: int) -> str:
        """An expression of a kind."""
        text, made = self.expression(depth)
        if made == kind:
            return text
        if kind == "b":
            # `0 != 0` would be a truth value of Python's own in the reference
            return f"bool({text})" if made == "n" or self.chance(0.5) else f"({text} != 0)"
        if made == "n" and (kind == "s" or not text.startswith("-")) and self.chance(0.3):
            return text if abs(int(text)) < 1 << 63 else f"mp.{'u' if kind == 'u' else 'i'}64({text})"
        name = self.random.choice([name for name in TYPES if (name[0] == "i") == (kind == "s")])
        if self.chance(0.6):
            name = "u64" if kind == "u" else "i64"
        return f"mp.{name}({text})"

    def expression(self, depth: int) -> tuple[str, str]:
        if depth <= 0 or self.chance(0.15):
            return self.atom()
        make = self.random.choice(
            (self.arithmetic,) * 6
            + (self.comparison,) * 2
            + (self.choice, self.logic, self.shift, self.unary, self.call)
        )
        return make(depth)

    def atom(self) -> tuple[str, str]:
        kind = self.random.random()
        if kind < 0.2:
            return self.literal(), "n"
        if kind < 0.3:
            return f"table[{self.literal(kind='u')}]", "u"
        if kind < 0.4:
            return f"narrow[{self.of('u', 0)}]", "s"
        if kind < 0.45:
            return f"items[{self.index()}]", "u"
        if kind < 0.55 and not self.in_helper:
            return f"ctx.arg({self.random.randrange(6)})", "u"
        name = self.random.choice(list(self.locals))
        return name, self.locals[name]

    def index(self) -> str:
        """An index of the array `items`: anything, often near its bounds, and shifted or multiplied before that."""
        text = self.of("u", 1)
        how = self.random.randrange(6)
        if how < 2:
            return f"(({self.of('u', 0)} >> {self.random.choice((32, 57, 60))}) + {self.random.randrange(3)})"
        if how == 2:
            return f"({self.of('u', 0)} + 2 * {self.of('u', 0)})"
        return f"({text} % {self.random.choice((99, 100, 101, 128))})" if how < 5 else text

    def typed(self, depth: int) -> tuple[str, str]:
        """An expression that is not a mere number."""
        text, kind = self.expression(depth)
        return (
            (self.of("s", depth - 1), "s")
            if kind == "n" and not self._is_number(text)
            else ((f"mp.i64({text})", "s") if kind == "n" else (text, kind))
        )

    def certain(self, kind: str, depth: int) -> str:
        """An expression of a kind, which plain Python knows as well: no mere number."""
        text = self.of(kind, depth)
        return f"mp.{'u' if kind == 'u' else 'i'}64({text})" if self._is_number(text) else text

    def _is_number(self, text: str) -> bool:
        return text.lstrip("-").isdigit()

    def arithmetic(self, depth: int) -> tuple[str, str]:
        left, left_kind = self.typed(depth - 1)
        right, right_kind = self.expression(depth - 1)
        if self.chance(0.3):
            left, left_kind, right, right_kind = right, right_kind, left, left_kind
        op = self.random.choice(("+", "-", "*", "//", "%", "&", "|", "^"))
        kinds = {left_kind, right_kind}
        kind = "s" if "s" in kinds else "u" if "u" in kinds else "p"
        return f"({left} {op} {right})", kind

    def shift(self, depth: int) -> tuple[str, str]:
        left, kind = self.typed(depth - 1)
        right = str(self.random.choice((0, 1, 5, 31, 32, 63, 64, 70))) if self.chance(0.5) else self.of("u", depth - 1)
        return f"({left} {self.random.choice(('<<', '>>'))} {right})", "p" if kind == "b" else kind

    def unary(self, depth: int) -> tuple[str, str]:
        text, kind = self.typed(depth - 1)
        kind = "p" if kind == "b" else kind
        if self.chance(0.3):
            return f"abs({text})", kind
        return f"({self.random.choice('-~+')}{text})", kind

    def comparison(self, depth: int) -> tuple[str, str]:
        operands = [self.typed(depth - 1)]
        for _ in range(1 if self.chance(0.8) else 2):
            operands.append(self.typed(depth - 1) if self.chance(0.7) else (self.literal(kind="u"), "n"))
        text = operands[0][0]
        for operand, _ in operands[1:]:
            text += f" {self.random.choice(('<', '<=', '>', '>=', '==', '!='))} {operand}"
        if any(self._is_number(a) and self._is_number(b) for (a, _), (b, _) in pairwise(operands)):
            return f"bool({text})", "b"  # `x < 1 < 2` may be a truth value of Python's own in the reference
        return f"({text})", "b"

    def choice(self, depth: int) -> tuple[str, str]:
        kind = self.random.choice("usb")
        test = self.of("b", depth - 1)
        return f"({self.certain(kind, depth - 1)} if {test} else {self.certain(kind, depth - 1)})", kind

    def logic(self, depth: int) -> tuple[str, str]:
        if self.chance(0.2):
            return f"bool(not {self.of(self.random.choice('usb'), depth - 1)})", "b"
        if self.chance(0.2):
            return f"bool({self.of('u', 0)} in table)", "b"
        kind = self.random.choice("usb")
        op = self.random.choice(("and", "or"))
        return f"({self.certain(kind, depth - 1)} {op} {self.certain(kind, depth - 1)})", kind

    def call(self, depth: int) -> tuple[str, str]:
        if self.chance(0.5) and not self.in_helper:
            return f"helper({self.of('u', depth - 1)}, {self.of('s', depth - 1)})", "s"
        kind = self.random.choice("us")
        values = [self.of(kind, depth - 1) for _ in range(self.random.choice((2, 2, 3)))]
        if all(self._is_number(value) for value in values):
            return f"mp.{'u' if kind == 'u' else 'i'}64({values[0]})", kind
        return f"{self.random.choice(('min', 'max'))}({', '.join(values)})", self._extreme_kind(kind, values)

    def _extreme_kind(self, kind: str, values: list[str]) -> str:
        return "s" if any(value.startswith("-") and self._is_number(value) for value in values) else kind

    # Statements

    def block(self, least: int, most: int) -> None:
        for _ in range(self.random.randint(least, most)):
            self.statement()

    def statement(self) -> None:
        self.n_statements += 1
        makers = [self.assign] * 6 + [self.augment] * 3 + [self.store] * 2
        if self.indent < self.deepest and self.n_statements < self.most:
            makers += [self.branch] * 3 + [self.count, self.repeat]
        if self.n_loops:
            makers += [self.leave_loop]
        self.random.choice(makers)()

    def assign(self) -> None:
        name = self.random.choice(list(self.locals))
        kind = self.locals[name]
        if self.chance(0.1) and kind != "b":
            other = f"{name[0]}{1 - int(name[1])}"
            self.emit(f"{name}, {other} = {other}, {self.certain(kind, 2)}")
        else:
            self.emit(f"{name} = {self.certain(kind, self.depth)}")

    def augment(self) -> None:
        name = self.random.choice(("u0", "u1", "s0", "s1"))
        op = self.random.choice(("+", "-", "*", "//", "%", "&", "|", "^", "<<", ">>"))
        value = self.of("u", 2) if op in ("<<", ">>") or name[0] == "u" else self.of("s", 2)
        self.emit(
            f"{name} {op}= {value.replace('-', '', 1) if self._is_number(value) and op in ('<<', '>>') else value}"
        )

    def store(self) -> None:
        which = self.random.choice(("table", "narrow", "out", "items", "items"))
        key = {"table": self.literal(kind="u"), "narrow": self.of("u", 1), "out": str(self.random.randrange(6, N_OUT))}
        key["items"] = self.index()
        target = f"{which}[{key[which]}]"
        if which == "narrow" and self.chance(0.2):
            self.emit(f"del {target}")
        elif which == "items" and self.chance(0.4):
            self.emit(f"if not {target}:", f"    {target} = {self.of('u', 2)}")
        elif self.chance(0.5):
            # No helper on the right: it may change the item, and an update in place sees that, unlike Python's.
            before, self.in_helper = self.in_helper, True
            self.emit(f"{target} {self.random.choice(('+', '-', '|', '&', '^', '*'))}= {self.of('u', 2)}")
            self.in_helper = before
        else:
            self.emit(f"{target} = {self.of(self.random.choice('us'), 2)}")

    def nested(self, least: int, most: int) -> None:
        self.indent += 1
        self.block(least, most)
        self.indent -= 1

    def branch(self) -> None:
        self.emit(f"if {self.of(self.random.choice('bus'), self.depth)}:")
        self.nested(1, 3)
        if self.chance(0.3):
            self.emit(f"elif {self.of('b', 2)}:")
            self.nested(1, 2)
        if self.chance(0.5):
            self.emit("else:")
            self.nested(1, 2)

    def count(self) -> None:
        bounds = self.random.choice(("3", "1, 5", "10, 0, -3", "0, 100, 17"))
        self.emit(f"for i{self.indent} in range({bounds}):")
        self._loop(f"u0 += i{self.indent}")

    def repeat(self) -> None:
        counter = f"w{self.indent}"
        self.emit(f"{counter} = mp.u64(0)", f"while {counter} < {self.random.randint(1, 6)}:")
        self._loop(f"{counter} += 1")

    def _loop(self, first: str) -> None:
        self.n_loops += 1
        self.indent += 1
        self.emit(first)
        self.block(1, 2)
        self.indent -= 1
        self.n_loops -= 1

    def leave_loop(self) -> None:
        self.emit(f"if {self.of('b', 1)}:")
        self.indent += 1
        self.emit(self.random.choice(("break", "continue")))
        self.indent -= 1


ARGUMENTS = (0, 1, 2, 5, 63, 64, 100, 255, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, MASK - 1, MASK)


def arguments(seed: int) -> list[int]:
    """Six arguments: edges, and numbers of every size."""
    chosen = random.Random(seed)
    return [
        chosen.choice(ARGUMENTS) if chosen.random() < 0.6 else chosen.getrandbits(chosen.randint(1, 64))
        for _ in range(6)
    ]

"""The typed program between Python's syntax and LLVM: a tree in which every value has a kind and nothing is implicit.

A value is a 64-bit integer without a sign (U64) or with one (I64), a truth value (BOOL), or made of nothing but numbers
written in the program (LITERAL: with a sign, until it meets what has none). A kind that begins with "*" is a pointer
to a type of the kernel (`typed`), and for everybody else U64. Narrow types exist in memory and in conversions. The
`line` of a statement, and the `at` of an expression that the verifier may object to, are locations in the source: line
and column, packed by `source.pack_location`; negative where there is none. Knows neither `ast` nor LLVM.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from multiprobe.maps.types import Integer

U64, I64, BOOL, LITERAL = "u64", "i64", "bool", "literal"
MASK = (1 << 64) - 1


def is_pointer(kind: str) -> bool:
    """Whether values of this kind are typed pointers: integers without a sign that know what they point to."""
    return kind.startswith("*")


@dataclass(frozen=True, slots=True)
class Const:
    """A number known when compiling. Kind LITERAL takes the kind of what it meets."""

    value: int
    kind: str = LITERAL


@dataclass(frozen=True, slots=True)
class Local:
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class BinaryOperation:
    """`op`: add sub mul floordiv mod and or xor shl shr, in 64 bits; the sign of `kind` tells how to divide."""

    op: str
    left: Expression
    right: Expression
    kind: str


@dataclass(frozen=True, slots=True)
class Compare:
    """`op`: eq ne lt le gt ge; exact, also between a signed and an unsigned value."""

    op: str
    left: Expression
    right: Expression
    kind: str = BOOL


@dataclass(frozen=True, slots=True)
class Logical:
    """`and` and `or`, which yield one of their operands and evaluate the right one only if they must."""

    is_and: bool
    left: Expression
    right: Expression
    kind: str


@dataclass(frozen=True, slots=True)
class Not:
    operand: Expression
    kind: str = BOOL


@dataclass(frozen=True, slots=True)
class Conditional:
    test: Expression
    then: Expression
    other: Expression
    kind: str


@dataclass(frozen=True, slots=True)
class Convert:
    """Wrap into the range of `type`."""

    operand: Expression
    type: Integer
    kind: str


@dataclass(frozen=True, slots=True)
class Extreme:
    """The smaller (or larger) of two values, compared exactly."""

    is_max: bool
    left: Expression
    right: Expression
    kind: str


@dataclass(frozen=True, slots=True)
class BitLength:
    """How many bits a value takes, without its sign."""

    operand: Expression
    kind: str = I64


@dataclass(frozen=True, slots=True)
class Read:
    """A value that the hook provides: `ctx.NAME`, or `ctx.arg(index)`."""

    name: str
    kind: str
    index: int = 0
    at: int = field(default=-1, compare=False)

    @property
    def is_steady(self) -> bool:
        """Whether it stays the same throughout a hit."""
        return self.name not in ("time", "session")


@dataclass(frozen=True, slots=True)
class Load:
    """What a map holds at a key; 0 where there is nothing."""

    map: int
    key: Key
    kind: str
    at: int = field(default=-1, compare=False)


@dataclass(frozen=True, slots=True)
class Contains:
    map: int
    key: Key
    kind: str = BOOL
    at: int = field(default=-1, compare=False)


@dataclass(frozen=True, slots=True)
class Peek:
    """`size` bytes of memory, `offset` bytes after an address; 0 if they can't be read, which is counted.

    The memory is the kernel's, or the current process's if `is_user`. Widened to 64 bits, with their sign if
    `is_signed`. With `bits`, only so many of them from bit `shift` on. `is_task`: the address is the current task's,
    which is always there, and the memory one of its members, but not a pointer: the verifier lets programs load it.
    """

    address: Expression
    offset: int
    size: int
    is_signed: bool
    kind: str
    shift: int = 0
    bits: int = 0
    is_user: bool = False
    is_task: bool = False


@dataclass(frozen=True, slots=True)
class PerCpu:
    """The address of a per-CPU variable, by its BTF id: this CPU's, or 0 if `cpu` isn't there."""

    variable: int
    cpu: Expression | None
    kind: str


@dataclass(frozen=True, slots=True)
class Inline:
    """A helper function's body in place of its call; its Leave statements set `result`."""

    body: tuple[Statement, ...]
    result: Local
    kind: str


@dataclass(frozen=True, slots=True)
class String:
    """Where a string comes from; no value by itself. `source`: "kernel" or "user" memory at `address`, "comm" (the name
    of the task), "task" (the same, at `offset` of it), or "text", known when compiling. "kernel_bytes" and "user_bytes"
    are memory as it is. With `size`, memory has at most so many bytes of the string, whether or not a NUL is among
    them."""

    source: str
    address: Expression | None = None
    text: bytes = b""
    size: Expression | None = None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class SameString:
    """Whether a string is exactly `text`."""

    string: String
    text: bytes
    kind: str = BOOL


@dataclass(frozen=True, slots=True)
class Send:
    """Send a record to a RingBuffer: one part for each field (integers as one expression each, arrays as many as were
    given). Yields whether there was room."""

    map: int
    parts: tuple[tuple[Expression, ...] | String, ...]
    kind: str = BOOL


@dataclass(frozen=True, slots=True)
class Tally:
    """Count a number in a Histogram, in `function`'s if it has one for each. Yields whether there is such a one."""

    map: int
    function: Expression | None
    number: Expression
    kind: str = BOOL


@dataclass(frozen=True, slots=True)
class Exchange:
    """Changes an item of 4 or 8 bytes in one atomic step, and yields what was there before: adds `value`, or with
    `expected` stores `value` where there was that. 0 where there is no such item."""

    map: int
    key: Key
    value: Expression
    expected: Expression | None
    kind: str


@dataclass(frozen=True, slots=True)
class StackId:
    """The id of the stack now, or a negative errno."""

    map: int
    is_user: bool
    kind: str = I64


Expression = (
    Const
    | Local
    | BinaryOperation
    | Compare
    | Logical
    | Not
    | Conditional
    | Convert
    | Extreme
    | BitLength
    | Read
    | Load
    | Contains
    | Peek
    | PerCpu
    | Inline
    | SameString
    | Send
    | Tally
    | Exchange
    | StackId
)
Key = tuple[Expression | String, ...]


Located = Read | Load | Contains
"""Expressions that carry their location, `at`."""


@dataclass(frozen=True, slots=True)
class Assign:
    line: int
    name: str
    value: Expression


@dataclass(frozen=True, slots=True)
class Store:
    """`map[key] = value`."""

    line: int
    map: int
    key: Key
    value: Expression


@dataclass(frozen=True, slots=True)
class StoreString:
    """`map[key] = string`, which fills `size` bytes from there on."""

    line: int
    map: int
    key: Key
    string: String
    size: int


@dataclass(frozen=True, slots=True)
class Update:
    """`map[key] op= value` in one atomic step; `op`: add, and, or, xor; umax, smax, umin, smin: the larger or smaller
    one, of 8 bytes."""

    line: int
    map: int
    key: Key
    op: str
    value: Expression


@dataclass(frozen=True, slots=True)
class Delete:
    line: int
    map: int
    key: Key


@dataclass(frozen=True, slots=True)
class SetSession:
    """`ctx.session = value`."""

    line: int
    value: Expression


@dataclass(frozen=True, slots=True)
class Evaluate:
    """An expression for its effects."""

    line: int
    value: Expression


@dataclass(frozen=True, slots=True)
class If:
    line: int
    test: Expression
    then: tuple[Statement, ...]
    other: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Count:
    """`for name in range(start, stop, step)`, all three known."""

    line: int
    name: str
    values: range
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class While:
    """At most `limit` rounds; one that wants more is cut off and counted."""

    line: int
    test: Expression
    body: tuple[Statement, ...]
    limit: int


@dataclass(frozen=True, slots=True)
class Jump:
    """`break`, or `continue` when not `is_break`."""

    line: int
    is_break: bool


@dataclass(frozen=True, slots=True)
class Leave:
    """`return`, from the program or from the innermost Inline. A program's value: whether to skip the return side."""

    line: int
    value: Expression | None = None


Statement = Assign | Store | StoreString | Update | Delete | SetSession | Evaluate | If | Count | While | Jump | Leave


@dataclass(frozen=True, slots=True)
class Routine:
    """A whole program: its locals with their kinds, its maps (as Python names), its body, and its source by lines."""

    name: str
    file: str
    first_line: int
    body: tuple[Statement, ...]
    locals: dict[str, str]
    maps: tuple[str, ...]
    needs: frozenset[str] = frozenset()
    text: tuple[str, ...] = ()


def has_calls(expression: object) -> bool:
    """Whether helpers of the user's are called in an expression: they may change maps."""
    if isinstance(expression, Inline):
        return True
    if isinstance(expression, tuple):
        return any(map(has_calls, expression))
    names = getattr(expression, "__match_args__", ())
    return any(has_calls(getattr(expression, name)) for name in names)


def deleted_from(node: object) -> frozenset[int]:
    """The maps of which keys are deleted in statements or expressions."""
    if isinstance(node, Delete):
        return frozenset((node.map,))
    names = getattr(node, "__match_args__", ())
    parts = node if isinstance(node, tuple) else [getattr(node, name) for name in names]
    return frozenset().union(*map(deleted_from, parts))


def reaches_end(body: tuple[Statement, ...]) -> bool:
    """Whether control can come to the end of `body`."""
    return not any(
        isinstance(statement, Leave | Jump)
        or (isinstance(statement, If) and not reaches_end(statement.then) and not reaches_end(statement.other))
        for statement in body
    )


def n_certain(body: tuple[Statement, ...]) -> int:
    """How many of the first statements of a helper's body run in every call that comes back."""
    first = next((n for n, statement in enumerate(body) if _may_leave(statement)), len(body))
    return first + 1 if first < len(body) and isinstance(body[first], Leave) else first


def _may_leave(statement: Statement) -> bool:
    if isinstance(statement, If):
        return any(map(_may_leave, (*statement.then, *statement.other)))
    if isinstance(statement, Count | While):
        return any(map(_may_leave, statement.body))
    return isinstance(statement, Leave)

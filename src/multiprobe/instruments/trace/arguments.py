"""Describes a traced function's arguments and result: how they are decoded, and which reads that takes.

Descriptions of system calls are made here, from the formats of their events in tracefs; all others by `trace.describe`,
from BTF.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from multiprobe.instruments.trace.reads import BY_VALUE, N_ARGUMENTS, Planner, Text
from multiprobe.kernel.btf.values import UNKNOWN as NO_TYPES
from multiprobe.kernel.btf.values import ValueType
from multiprobe.kernel.flag_names import table_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from multiprobe.instruments.trace.reads import Content, Node, ReadStep
    from multiprobe.kernel.btf.values import Spelled

    Decoded = tuple[tuple[tuple[str, object], ...], Mapping[str, object]]
    Decoder = Callable[[Sequence[int], Content], Decoded]

_FORMATS = "/sys/kernel/tracing/events/syscalls/sys_enter_{}/format"
_CALL = re.compile(r"name: sys_enter_(\w+)")
_FIELD = re.compile(r"field:(.+?)(\w+);\s*offset:([0-9]{1,9});\s*size:([0-9]{1,9});\s*signed:\d;")
_FIRST_ARGUMENT = 16
"""The offset of a system call's first argument in its record."""
_INTS = re.compile(r"\b(int|pid_t|key_t|mqd_t|clockid_t|timer_t|long|ssize_t|off_t|loff_t)\b")
_EMPTY = '""'


@dataclass(frozen=True, slots=True)
class TracedArgument:
    """One argument as it is shown.

    type: how to decode its register (None: the argument itself is not shown)
    behind: how to decode what it points to; a string is shown in place of the address
    count: the position and type of the argument that says how many bytes of the string there are
    words: of a struct passed by value, where each 8 bytes of it are; `behind` decodes its members
    """

    name: str
    position: int
    type: ValueType | None
    behind: Node | None = None
    count: tuple[int, ValueType] | None = None
    words: tuple[int | None, ...] = ()

    @property
    def has_members(self) -> bool:
        """Whether members are shown beside the argument's own value."""
        return (
            self.type is not None and self.behind is not None and not isinstance(self.behind, Text) and not self.words
        )

    def reader(self) -> Callable[[Sequence[int], Content], object]:
        """A function that decodes the argument, or the member behind it; None if it could not be read."""
        position, behind = self.position, self.behind
        if self.words and behind is not None:
            return self._struct_reader(behind)
        if self.type is None:
            return lambda raw, content: None if behind is None else behind.read(content)
        read = self.type.reader()
        if position >= N_ARGUMENTS:  # they are sent separately, and may be missing
            return lambda raw, content: read(raw[position]) if position < len(raw) else None
        if behind is None:
            return lambda raw, content: read(raw[position])
        if self.has_members:
            return lambda raw, content: read(raw[position]) if raw[position] else "NULL"

        def text(raw: Sequence[int], content: Content) -> object:
            found = behind.read(content) if self.count is None else self._counted(raw, content)
            if found is not None and found != _EMPTY:
                return found
            # An empty or unreadable string: show the address instead.
            return read(raw[position]) if raw[position] else "NULL"

        return text

    def _struct_reader(self, behind: Node) -> Callable[[Sequence[int], Content], object]:
        words, missing = self.words, None if self.type is None else self.type.read(0)

        def read(raw: Sequence[int], content: Content) -> object:
            if any(at is not None and at >= len(raw) for at in words):  # those on the stack are sent separately
                return missing
            memory = b"".join((0 if at is None else raw[at]).to_bytes(8, "little") for at in words)
            found = behind.read({**content, BY_VALUE: memory})
            return missing if found is None else found

        return read

    def _counted(self, raw: Sequence[int], content: Content) -> object:
        """The string, which need not end in a NUL: at most as many bytes as its count says."""
        assert self.count is not None
        assert isinstance(self.behind, Text)
        position, type_ = self.count
        most = type_.read(raw[position]) if position < len(raw) else None
        return self.behind.read(content, most=max(most, 0) if isinstance(most, int) else None)


COUNTING = ("int", "unsigned")
"""The kinds of values that count bytes, and of results that say how many bytes a call wrote."""
_COUNTS = frozenset(
    ("count", "cnt", "length", "nbytes", "bufsize", "buf_size", "buffer_size", "max", "nr", "n", "size")
)
_OF_OTHER_THINGS = frozenset(("nr", "n", "size"))
"""What may count something else after a name: `kmem_cache_create(name, size)`."""


def count_after(parameters: Sequence[tuple[str, ValueType | None]], n: int) -> tuple[int, ValueType] | None:
    """The number and type of the parameter that follows number `n`, if it counts the bytes behind that one."""
    if n + 1 >= len(parameters):
        return None
    name, type_ = parameters[n + 1]
    return (n + 1, type_) if _counts(name, parameters[n][0]) and type_ and type_.kind in COUNTING else None


def _counts(name: str, pointer: str) -> bool:
    """Whether a parameter of this name, after a pointer of that name, counts bytes: `len`, `buflen`, `name_len`, …"""
    if pointer.endswith("name") and name in _OF_OTHER_THINGS:
        return False
    return name in _COUNTS or name.endswith("len")


@dataclass(frozen=True, slots=True)
class Described:
    """A function's arguments as they are shown, its result, and the `steps` that read them.

    n_slots: the number of its arguments
    is_program: it is a function of a program or library, with types: what arguments point to is in user memory
    is_syscall: it is the wrapper of a system call, whose arguments are in the registers that its argument points to
    """

    shown: tuple[TracedArgument, ...]
    result: ValueType
    steps: tuple[ReadStep, ...] = ()
    n_slots: int = 0
    is_syscall: bool = False
    is_program: bool = False

    @property
    def names(self) -> list[str]:
        """The names of the arguments that are shown."""
        return [shown.name for shown in self.shown]

    def decoder(self) -> Decoder:
        """A function that decodes one call: its arguments in order as (name, value), strings in quotes, and the
        members behind those that point to structs, by argument.
        """
        arguments = [(shown.name, shown.reader()) for shown in self.shown]
        members = [(shown.name, shown.behind.read) for shown in self.shown if shown.behind and shown.has_members]
        optional = any(shown.type is None or shown.position >= N_ARGUMENTS for shown in self.shown)

        def decode(raw: Sequence[int], content: Content) -> Decoded:
            found = tuple([(name, read(raw, content)) for name, read in arguments])
            if optional:
                found = tuple(item for item in found if item[1] is not None)
            if not members or not content:
                return found, _NOTHING
            behind = {}
            for name, look in members:
                item = look(content)
                if item is not None:
                    behind[name] = item
            return found, behind

        return decode

    def returned(self, raw: int) -> Spelled | None:
        """The decoded result."""
        return self.result.read_returned(raw)


class Outline(NamedTuple):
    """What the program has to know of a function of the kernel with types, of which it reads the arguments alone."""

    result: ValueType
    n_slots: int
    steps: tuple[ReadStep, ...] = ()
    is_syscall: bool = False
    is_program: bool = False


_NOTHING: Mapping[str, object] = {}
UNKNOWN = Described((), NO_TYPES.returned)
REGISTERS = Described(
    tuple(TracedArgument(f"arg{n}", n, ValueType("raw")) for n in range(N_ARGUMENTS)), NO_TYPES.returned
)
"""Of a function without types: the registers in which it may have arguments."""


def load_syscall(name: str) -> Described | None:
    """The description of a system call from the format of its event; None if it has none."""
    try:
        with open(_FORMATS.format(name), encoding="ascii", errors="replace") as file:
            return parse_format(file.read())
    except OSError:
        return None


def parse_format(text: str) -> Described:
    """The description of a system call from the text of its event's format."""
    found, planner, buffers = list[TracedArgument](), Planner(), set[int]()
    call = _CALL.search(text)
    for declared, name, offset, _ in _FIELD.findall(text):
        if int(offset) < _FIRST_ARGUMENT or name.startswith("__"):  # newer kernels keep strings there
            continue
        behind = planner.text(len(found), (0,)) if declared.strip() == "const char *" else None
        found.append(TracedArgument(name, len(found), _declared(declared, name, call[1] if call else ""), behind))
        buffers |= {len(found) - 1} if declared.strip() == "char *" else set()
    kinds = [(one.name, one.type) for one in found]
    for n, one in enumerate(found):
        count = count_after(kinds, n) if one.behind or n in buffers else None
        if count is not None:
            found[n] = replace(one, behind=one.behind or planner.filled(n), count=count)
    return Described(tuple(found), ValueType("int", 64), planner.steps(), is_syscall=True)


def _declared(text: str, name: str, call: str) -> ValueType:
    if "*" in text:
        return ValueType("pointer")
    table = table_of(name, text.split(), call=call)
    if table:
        return ValueType("unsigned", 32, table=table)
    is_signed = bool(_INTS.search(text)) and "unsigned" not in text
    bits = 64 if re.search(r"\b(long|size_t|ssize_t|off_t|loff_t|aio_context_t)\b", text) else 32
    return ValueType("int" if is_signed else "unsigned", bits)

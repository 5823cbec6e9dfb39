"""A traced function's arguments and result: how they are shown, and what the probe reads for that.

Knows values and nodes, and the formats in which tracefs names a system call's arguments. Who finds them in BTF is
`trace_describe`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.instruments.trace.reads import N_ARGUMENTS, Planner, Text
from multiprobe.kernel.btf.values import UNKNOWN as NO_TYPES
from multiprobe.kernel.btf.values import ValueType
from multiprobe.kernel.flag_names import table_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from multiprobe.instruments.trace.reads import Content, Node, Step

    Spelled = str | int | bool | None

_FORMATS = "/sys/kernel/tracing/events/syscalls/sys_enter_{}/format"
_CALL = re.compile(r"name: sys_enter_(\w+)")
_FIELD = re.compile(r"field:(.+?)(\w+);\s*offset:(\d+);\s*size:(\d+);\s*signed:\d;")
_FIRST_ARGUMENT = 16
"""The offset of a system call's first argument in its record."""
_INTS = re.compile(r"\b(int|pid_t|key_t|mqd_t|clockid_t|timer_t|long|ssize_t|off_t|loff_t)\b")
_EMPTY = '""'


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument as it is shown. `type`: how to read its register (None: not shown itself); `behind`: what is shown
    of what it points to, a text in place of the address."""

    name: str
    place: int
    type: ValueType | None
    behind: Node | None = None

    @property
    def has_members(self) -> bool:
        """Is more shown than the argument's own value?"""
        return self.type is not None and self.behind is not None and not isinstance(self.behind, Text)

    def reader(self) -> Callable[[Sequence[int], Content], Any]:
        """A function that tells the argument's value, or that of the member behind it; None if it isn't there."""
        place, behind = self.place, self.behind
        if self.type is None:
            return lambda raw, content: None if behind is None else behind.read(content)
        read = self.type.reader()
        if place >= N_ARGUMENTS:  # they come by themselves, if they come
            return lambda raw, content: read(raw[place]) if place < len(raw) else None
        if behind is None:
            return lambda raw, content: read(raw[place])
        if self.has_members:
            return lambda raw, content: read(raw[place]) if raw[place] else "NULL"

        def text(raw: Sequence[int], content: Content) -> Any:
            found = behind.read(content)
            if found is not None and found != _EMPTY:
                return found
            # It could not be read, or is empty: the address tells more.
            return read(raw[place]) if raw[place] else "NULL"

        return text


@dataclass(frozen=True, slots=True)
class Described:
    """A function's arguments as they are shown, its result, and the `steps` that the probe takes for them.

    `n_slots`: how many arguments it has; `is_syscall`: a system call's wrapper, whose arguments are in the registers
    that its own argument points to.
    """

    shown: tuple[Argument, ...]
    result: ValueType
    steps: tuple[Step, ...] = ()
    n_slots: int = 0
    is_syscall: bool = False

    @property
    def names(self) -> list[str]:
        """Those of the arguments that are shown."""
        return [shown.name for shown in self.shown]

    def decoder(self) -> Callable[[Sequence[int], Content], tuple[tuple[tuple[str, Any], ...], Mapping[str, Any]]]:
        """A function that tells, for one call, its arguments as (name, value) in their order, texts in quotes where
        they could be read; and what is behind those that point to structs, by the argument's name.
        """
        arguments = [(shown.name, shown.reader()) for shown in self.shown]
        members = [(shown.name, shown.behind.read) for shown in self.shown if shown.behind and shown.has_members]
        optional = any(shown.type is None or shown.place >= N_ARGUMENTS for shown in self.shown)

        def decode(raw: Sequence[int], content: Content) -> tuple[tuple[tuple[str, Any], ...], Mapping[str, Any]]:
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

    def returned(self, raw: int) -> Spelled:
        """What came back."""
        return self.result.read_returned(raw)


_NOTHING: Mapping[str, Any] = {}
UNKNOWN = Described((), NO_TYPES.returned)


def load_syscall(name: str) -> Described | None:
    """From the format of the system call's event, or None where there is none."""
    try:
        with open(_FORMATS.format(name), encoding="ascii", errors="replace") as file:
            return parse_format(file.read())
    except OSError:
        return None


def parse_format(text: str) -> Described:
    """The arguments of a system call, from its event's format."""
    found, planner = list[Argument](), Planner()
    call = _CALL.search(text)
    for declared, name, offset, _ in _FIELD.findall(text):
        if int(offset) < _FIRST_ARGUMENT or name.startswith("__"):  # newer kernels keep texts there
            continue
        behind = planner.text(len(found), (0,)) if declared.strip() == "const char *" else None
        found.append(Argument(name, len(found), _declared(declared, name, call[1] if call else ""), behind))
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

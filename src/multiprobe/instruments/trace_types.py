"""What is known of each traced function's arguments and result, and how they are spelled.

From BTF; for the wrappers of system calls from tracefs, whose formats name the arguments that the wrapper passes on.
"""

from __future__ import annotations

import re

from multiprobe.errors import MultiprobeError
from multiprobe.kernel import btf_format as fmt
from multiprobe.kernel.btf_values import UNKNOWN as NO_TYPES
from multiprobe.kernel.btf_values import Signature, ValueType, signature
from multiprobe.values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from multiprobe.functions.sets import FunctionSet
    from multiprobe.kernel.btf import Btf

    Spelled = str | int | bool | None

_WRAPPER = "__x64_sys_"
_FORMATS = "/sys/kernel/tracing/events/syscalls/sys_enter_{}/format"
_FIELD = re.compile(r"field:(.+?)(\w+);\s*offset:(\d+);\s*size:(\d+);\s*signed:\d;")
_FIRST_ARGUMENT = 16
"""The offset of a system call's first argument in its record."""
_INTS = re.compile(r"\b(int|pid_t|key_t|mqd_t|clockid_t|timer_t|long|ssize_t|off_t|loff_t)\b")


@value
class Described:
    """A function's signature; `texts`: the places of arguments that are texts (`const char *`).

    `is_syscall`: a system call's wrapper, whose arguments are in the registers that its own argument points to.
    """

    signature: Signature
    texts: tuple[int, ...] = ()
    is_syscall: bool = False

    def arguments(self, raw: Sequence[int], texts: Mapping[int, str]) -> Iterator[tuple[str, Spelled]]:
        """(name, value) of each argument in its order, texts in quotes where they could be read."""
        for place, (name, type_) in enumerate(self.signature.parameters):
            if place >= len(raw):
                return
            found = type_.read(raw[place])
            if place in self.texts and not raw[place]:
                found = "NULL"
            yield name, _quoted(texts[place]) if texts.get(place) else found

    def returned(self, raw: int) -> Spelled:
        """What came back."""
        return self.signature.returned.read_returned(raw)


UNKNOWN = Described(NO_TYPES)


def _quoted(text: str) -> str:
    """Text in quotes, on one line."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in escaped) + '"'


def describe(functions: FunctionSet) -> list[Described]:
    """Each function in order."""
    found = []
    for place, (row, type_id) in enumerate(zip(functions.rows, functions.btf_ids(), strict=True)):
        name = functions[place].name
        known = _syscall(name.removeprefix(_WRAPPER)) if name.startswith(_WRAPPER) else None
        if known is None:
            btf = functions.kernel.btf_of(functions.table.module(row)) if type_id else None
            known = UNKNOWN if btf is None else Described(signature(btf, type_id), tuple(_texts(btf, type_id)))
        found.append(known)
    return found


def _texts(btf: Btf, type_id: int) -> Iterator[int]:
    for place, parameter in enumerate(btf.parameters(type_id)):
        if parameter.type_id and _is_text(btf, parameter.type_id):
            yield place


def _is_text(btf: Btf, type_id: int) -> bool:
    """Whether it is a `const char *`: what isn't const is often memory to be filled."""
    try:
        bare = btf.strip(type_id)
        if btf.kind(bare) != fmt.PTR or not btf.target(bare):
            return False
        pointed, is_const = btf.target(bare), False
        while btf.kind(pointed) in fmt.MODIFIERS:
            is_const = is_const or btf.kind(pointed) == fmt.CONST
            pointed = btf.target(pointed)
        return is_const and btf.kind(pointed) == fmt.INT and btf.name(pointed) == "char"
    except MultiprobeError:
        return False


def _syscall(name: str) -> Described | None:
    """From the format of the system call's event, or None where there is none."""
    try:
        with open(_FORMATS.format(name), encoding="ascii", errors="replace") as file:
            return parse_format(file.read())
    except OSError:
        return None


def parse_format(text: str) -> Described:
    """The arguments of a system call, from its event's format."""
    parameters: list[tuple[str, ValueType]] = []
    texts: list[int] = []
    for declared, name, offset, _ in _FIELD.findall(text):
        if int(offset) < _FIRST_ARGUMENT or name.startswith("__"):  # newer kernels keep texts there
            continue
        is_pointer = "*" in declared
        if is_pointer and re.fullmatch(r"const char \*", declared.strip()):
            texts.append(len(parameters))
        parameters.append((name, _declared(declared, is_pointer=is_pointer)))
    return Described(Signature(tuple(parameters), ValueType("int", 64)), tuple(texts), is_syscall=True)


def _declared(text: str, *, is_pointer: bool) -> ValueType:
    if is_pointer:
        return ValueType("pointer")
    is_signed = bool(_INTS.search(text)) and "unsigned" not in text
    bits = 64 if re.search(r"\b(long|size_t|ssize_t|off_t|loff_t|aio_context_t)\b", text) else 32
    return ValueType("int" if is_signed else "unsigned", bits)

"""The public API as text: every public name with its signature or type, and the public members of classes.

    python tests/public_api.py          write tests/unit/public_api.txt anew (`make api`)

A test compares. The text is the same on every Python, so enums and exceptions are described here, not by `inspect`.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import re
import types
from collections.abc import Iterator
from pathlib import Path

import multiprobe as mp

GOLDEN = Path(__file__).parent / "unit" / "public_api.txt"


class Text:
    """An annotation or default that prints as it was written."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def describe() -> str:
    """One paragraph for each public name."""
    return "".join(f"{line}\n" for name in sorted(mp.__all__) for line in lines_of(name, getattr(mp, name)))


def lines_of(name: str, item: object) -> Iterator[str]:
    if inspect.isclass(item):
        yield f"class {name}({', '.join(base.__name__ for base in item.__bases__ if base is not object)})"
        yield from (f"    {line}" for line in members_of(item))
    elif inspect.ismodule(item):
        yield f"module {name}"
        for member in sorted(getattr(item, "__all__", ())):
            yield from (f"    {line}" for line in lines_of(member, getattr(item, member)))
    elif callable(item):
        yield f"def {name}{signature(item)}" if inspect.isroutine(item) else f"{name}: {type(item).__name__}"
    else:
        yield f"{name}: {type(item).__name__}"


def members_of(cls: type) -> Iterator[str]:
    """A class's own and inherited public members, but for those of builtin classes."""
    if issubclass(cls, enum.Enum):
        yield from (f"{member.name} = {member.value!r}" for member in cls)
    elif not issubclass(cls, BaseException) or "__init__" in vars(cls):
        yield f"__init__{signature(cls.__init__)}" if "__init__" in vars(cls) else "__init__ (inherited)"
    fields = {field.name for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()
    found = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith("multiprobe"):
            found.update({name: member for name, member in vars(base).items() if is_public(name)})
    enum_names = set(cls.__members__) if issubclass(cls, enum.Enum) else set()
    for name in sorted(set(found) - enum_names):
        if name not in fields:
            yield member_line(name, found[name])


def is_public(name: str) -> bool:
    return not name.startswith("_") or name in (
        "__aenter__", "__aexit__", "__aiter__", "__call__", "__contains__", "__enter__", "__exit__", "__getitem__",
        "__iter__", "__len__",
    )  # fmt: skip


def member_line(name: str, member: object) -> str:
    if isinstance(member, property | functools.cached_property):
        getter = member.fget if isinstance(member, property) else member.func
        returned = inspect.signature(getter).return_annotation if getter else inspect.Signature.empty
        return f"{name}: {text_of(returned)}  (property)"
    if isinstance(member, staticmethod | classmethod):
        return f"{type(member).__name__} {name}{signature(member.__func__)}"
    if inspect.isfunction(member):
        prefix = "async def" if inspect.iscoroutinefunction(member) else "def"
        return f"{prefix} {name}{signature(member)}"
    return f"{name}  ({'attribute' if isinstance(member, types.MemberDescriptorType) else type(member).__name__})"


def signature(function: object) -> str:
    """A signature with annotations and defaults as they stand in the source."""
    found = inspect.signature(function)  # type: ignore[arg-type]
    parameters = [
        parameter.replace(annotation=as_text(parameter.annotation), default=without_addresses(parameter.default))
        for parameter in found.parameters.values()
    ]
    return str(found.replace(parameters=parameters, return_annotation=as_text(found.return_annotation)))


def as_text(annotation: object) -> object:
    return annotation if annotation is inspect.Signature.empty else Text(text_of(annotation))


def text_of(annotation: object) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def without_addresses(default: object) -> object:
    if default is inspect.Parameter.empty or not re.search(r" at 0x|object>", repr(default)):
        return default
    return Text("...")


if __name__ == "__main__":
    GOLDEN.write_text(describe())

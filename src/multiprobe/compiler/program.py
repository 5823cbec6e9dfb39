"""`@program`: a Python function that stands for a BPF program, and the values that it uses.

Compiles nothing and imports no compiler: it must stay cheap for programs whose code is in the disk cache.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, overload

from multiprobe.compiler.kernel_types import FUNCTIONS, Enum, Struct
from multiprobe.compiler.shape import SIDES
from multiprobe.errors import UsageError
from multiprobe.maps.specs import MapSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FunctionType
    from typing import TypeAlias, TypeVar

    from multiprobe.compiler.context import Context

    ProgramFunction: TypeAlias = Callable[[Context], object]
    Helped = TypeVar("Helped", bound=Callable[..., int | None])

NAMESPACED = ("ns_pid", "ns_tid")
ATTRIBUTES = frozenset(
    (
        *("function", "cookie", "ip", "arg", "args", "arg_count", "ret", "return_register", "is_return", "session"),
        *("pid", "tid", "cpu", "task", "time", "stack_pointer", "kernel_entry", *NAMESPACED),
    )
)
"""What a program can ask its `ctx` for."""
LOOP_LIMIT = 256


class Program:
    """A Python function that is compiled to a BPF program when it is attached; made by `@mp.program`.

    function: the Python function; when: the side where it runs, "entry", "return" or "session", or None (see
        `mp.attach`)
    loop_limit: turns after which a loop is ended, and counted as cut_loops
    sleepable: the program may wait for pages of user memory; it runs in trampolines, on the functions that the kernel
        allows for it, and in functions of programs

    Raises UsageError for another `when`, and for an object without Python code.
    """

    __slots__ = ("function", "loop_limit", "sleepable", "when")

    def __init__(
        self,
        function: FunctionType,
        *,
        when: str | None = None,
        loop_limit: int = LOOP_LIMIT,
        sleepable: bool = False,
    ) -> None:
        if when is not None and when not in SIDES:
            raise UsageError(f"when={when!r} means nothing", hint=f"use one of {', '.join(map(repr, SIDES))}")
        if not hasattr(function, "__code__"):
            raise UsageError(f"{function!r} is not a Python function")
        self.function = function
        self.when = when
        self.loop_limit = loop_limit
        self.sleepable = sleepable

    @property
    def name(self) -> str:
        """The function's name."""
        return self.function.__name__

    @property
    def functions(self) -> list[FunctionType]:
        """The program's function, then all helpers that it may call."""
        found = [self.function]
        for function in found:
            for _, item in references(function):
                if isinstance(item, Helper) and item.function not in found:
                    found.append(item.function)
        return found

    @property
    def asks_for(self) -> frozenset[str]:
        """The attributes of `ctx` that its code may read: at least those, found without compiling."""
        return ATTRIBUTES.intersection(name for function in self.functions for name in function.__code__.co_names)

    @property
    def is_namespaced(self) -> bool:
        """Whether its code may read ids of a pid namespace."""
        return not self.asks_for.isdisjoint(NAMESPACED)

    @property
    def uses_types(self) -> bool:
        """Whether its code depends on the kernel's types: true if in doubt, found without compiling."""
        return any(_uses_types(function) for function in self.functions)

    @property
    def maps(self) -> dict[str, MapSpec]:
        """All map specs that the program may use, by the names in its code (a helper's: "helper.name")."""
        found: dict[str, MapSpec] = {}
        for function in self.functions:
            prefix = "" if function is self.function else f"{function.__name__}."
            for name, item in references(function):
                if isinstance(item, MapSpec) and item not in found.values():
                    found[prefix + name] = item
        return found

    def __call__(self, *_: object) -> None:
        raise UsageError(
            f"{self.name!r} is a program for the kernel and can't be called", hint="attach it: mp.attach(…)"
        )

    def __repr__(self) -> str:
        return f"<program {self.name}>"


class Helper:
    """A Python function that programs call. The compiler copies it into each program that calls it."""

    __slots__ = ("function",)

    def __init__(self, function: FunctionType) -> None:
        self.function = function

    def __call__(self, *arguments: object) -> object:
        return self.function(*arguments)

    def __repr__(self) -> str:
        return f"<helper {self.function.__name__}>"


@overload
def program(
    python: ProgramFunction, *, when: str | None = None, loop_limit: int = LOOP_LIMIT, sleepable: bool = False
) -> Program: ...
@overload
def program(
    python: None = None, *, when: str | None = None, loop_limit: int = LOOP_LIMIT, sleepable: bool = False
) -> Callable[[ProgramFunction], Program]: ...
def program(
    python: ProgramFunction | None = None,
    *,
    when: str | None = None,
    loop_limit: int = LOOP_LIMIT,
    sleepable: bool = False,
) -> Program | Callable[[ProgramFunction], Program]:
    """Make the Python function `python` a Program: `@mp.program`, or `@mp.program(when="return")`.

    when, loop_limit, sleepable: as for `Program`. Raises UsageError for an invalid `when`; compiling raises
        CompileError in `mp.attach`.
    """
    if python is None:
        return lambda later: program(later, when=when, loop_limit=loop_limit, sleepable=sleepable)
    return Program(python, when=when, loop_limit=loop_limit, sleepable=sleepable)  # type: ignore[arg-type]


def helper(python: Helped) -> Helped:
    """Make a Python function callable from programs: `@mp.helper`. It can be called from Python too."""
    return Helper(python)  # type: ignore[arg-type,return-value]


def references(function: FunctionType) -> Iterator[tuple[str, object]]:
    """The names from outside that a function uses, with their values; `module.name` for what it takes from a module."""
    code = function.__code__
    cells = function.__closure__ or ()
    for name, cell in zip(code.co_freevars, cells, strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    for name in code.co_names:
        if name not in function.__globals__:
            continue
        item = function.__globals__[name]
        yield name, item
        if is_module(item):
            for attribute in code.co_names:
                found = getattr(item, attribute, references)
                if found is not references:
                    yield f"{name}.{attribute}", found


def _uses_types(function: FunctionType) -> bool:
    code = function.__code__
    if "args" in code.co_names or "task" in code.co_names:
        return True
    if "arg" in code.co_names and any(
        isinstance(item, str) for item in (*code.co_consts[1:], *(item for _, item in references(function)))
    ):
        return True  # ctx.arg(0, "struct sock *")
    return any(
        isinstance(item, (Struct, Enum)) or any(item is factory for factory in FUNCTIONS)
        for _, item in references(function)
    )


def is_module(item: object) -> bool:
    """Whether `item` is a module (without importing `types`)."""
    return isinstance(item, type(sys))

"""Resolves the arguments' names in a filter by the kernel's types: position, type, sign, byte order.

`trace.filter` parses the filter itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.arch import native, system_call_of
from multiprobe.binaries.mixed import kernel_of
from multiprobe.compiler.frontend.typed import close
from multiprobe.errors import MultiprobeError, UsageError
from multiprobe.functions.kernel import Kernel
from multiprobe.instruments.trace.arguments import COUNTING
from multiprobe.instruments.trace.describe import Describer, Wanted
from multiprobe.instruments.trace.filter import ANYWHERE, OTHER_NAMES, RETURNED, Meaning, constants, place_of, register
from multiprobe.instruments.trace.members import Behind
from multiprobe.instruments.trace.reads import Filled, Number, Planner, Pointer, Text
from multiprobe.kernel.btf.values import ValueType

if TYPE_CHECKING:
    from collections.abc import Callable

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.instruments.trace.arguments import TracedArgument
    from multiprobe.instruments.trace.reads import Node

_REGISTERS = 'mp.cast("struct pt_regs *", ctx.arg(0))'


class FilterNames:
    """Resolves names for a set of functions."""

    def __init__(self, functions: AnyFunctionSet) -> None:
        self._functions = functions
        self._describer = Describer(kernel_of(functions) or Kernel(), Wanted(depth=0))
        self._described = self._describer.describe(functions)
        self._n_calls = sum(known.is_syscall for known in self._described)

    def meaning(self, path: str) -> Meaning:
        """The meaning of an argument or member. Raises UsageError unless all functions that have it agree."""
        name, _, rest = path.partition(".")
        place = place_of(name)
        if place is not None:
            return self._by_number(path, place, rest)
        if self._n_calls == len(self._described):
            return self._of_calls(path, name, rest)
        owners = [place for place, known in enumerate(self._described) if name in known.names]
        if not owners:
            names = {one for known in self._described for one in known.names}
            raise UsageError(
                f"filter: none of these functions has an argument {name!r}",
                hint=OTHER_NAMES.get(name)
                or close(name, {*constants()} if name.isupper() else {*names, *RETURNED, *ANYWHERE})
                or f"there are: {', '.join(sorted(names)[:12])}; strings need quotes",
            )
        if self._n_calls and any(self._described[place].is_syscall for place in owners):
            raise UsageError(
                f"filter: {name!r} is an argument of system calls, but not all of these functions are system calls",
                hint="trace system calls separately",
            )
        return self._typed(path, name, rest, owners[0])

    def _by_number(self, path: str, place: int, rest: str) -> Meaning:
        if rest:
            raise UsageError(f"filter: {path}: an argument given by its number has no type", hint="use its name")
        if self._n_calls and self._n_calls == len(self._described) and place < len(native().system_call_arguments):
            return Meaning(f"{_REGISTERS}.{native().system_call_arguments[place]}")
        return Meaning(register(place))

    def _of_calls(self, path: str, name: str, rest: str) -> Meaning:
        """An argument of system calls; all must have it in the same register."""
        if rest:
            raise UsageError(f"filter: {path}: a system call's argument points to user memory, not a struct")
        found = {}
        for place, known in enumerate(self._described):
            shown = next((one for one in known.shown if one.name == name), None)
            if shown is None:
                label = system_call_of(self._functions[place].name)
                names = {one.name for other in self._described for one in other.shown}
                hint = (
                    OTHER_NAMES.get(name)
                    or close(name, names)
                    or f"{label} has: {', '.join(one.name for one in known.shown)}"
                )
                raise UsageError(f"filter: system call {label} has no argument {name!r}", hint=hint)
            found[shown.position, type(shown.behind), shown.count and shown.count[0]] = shown
        if len(found) > 1:
            raise UsageError(f"filter: {name!r} is not the same argument in all of these system calls")
        (shown,) = found.values()
        code = f"{_REGISTERS}.{native().system_call_arguments[shown.position]}"
        if isinstance(shown.behind, Text):
            return _string(code, shown, lambda n: f"{_REGISTERS}.{native().system_call_arguments[n]}")
        type_ = shown.type or ValueType("raw")
        return Meaning(_narrowed(code, type_) if type_.bits < 64 else code, type_.kind == "int")

    def _typed(self, path: str, name: str, rest: str, owner: int) -> Meaning:
        """An argument with a type. The compiler checks that it has the same position in all functions."""
        code = f"ctx.args.{path}"
        mine = next(one for one in self._described[owner].shown if one.name == name)
        if mine.type is not None and mine.type.kind == "unreadable":
            raise UsageError(f"filter: {name!r} can't be read: {mine.type.reason}")
        node = self._node(owner, name, rest)
        if isinstance(node, Text):
            return self._counted(code, name, rest, owner)
        number = node.number if isinstance(node, Pointer) else node
        type_ = number.type if isinstance(number, Number) else ValueType("raw")
        if type_.kind == "big" or type_.kind == "ipv4":
            return Meaning(_swapped(code, type_.bits), kind="number" if type_.kind == "big" else "ipv4")
        return Meaning(code, type_.kind == "int" or (type_.kind == "enum" and any(one < 0 for one in type_.names)))

    def _counted(self, code: str, name: str, rest: str, owner: int) -> Meaning:
        """A string. All functions that have it must count its bytes by the same argument, or none of them."""
        if rest:
            return Meaning(code, kind="text")
        shown = [one for known in self._described for one in known.shown if one.name == name]
        if any(type(one.behind) is not type(shown[0].behind) or one.count != shown[0].count for one in shown):
            raise UsageError(
                f"filter: {name!r} is a string of another length, or written by the call, in some of these functions",
                hint="trace these functions separately",
            )
        mine = next(one for one in self._described[owner].shown if one.name == name)
        return _string(code, mine, register)

    def _node(self, owner: int, name: str, rest: str) -> Node | None:
        """The node that decodes it, from which its type is known."""
        shown = next(one for one in self._described[owner].shown if one.name == name)
        if not rest:
            return shown.behind if isinstance(shown.behind, Text) else Number(shown.type or ValueType("raw"), 8)
        types, ref = self._describer.parameter(self._functions, owner, name)
        behind = Behind(types, Planner(), is_kernel=not ref.is_user)
        try:
            spot = behind.argument(ref)
            if spot is None:
                raise UsageError(f"{name} is not a pointer, so it has no members")
            return behind.value(shown.position, behind.follow(spot, rest))
        except UsageError as error:
            raise UsageError(f"filter: {name}.{rest}: {error.message}", hint=error.hint) from None
        except MultiprobeError:
            return None


def _string(code: str, shown: TracedArgument, read: Callable[[int], str]) -> Meaning:
    """A string at the address `code`; `read` gives an argument by its position, as Python source."""
    count = _narrowed(read(shown.count[0]), shown.count[1]) if shown.count else ""
    return Meaning(code, kind="filled" if isinstance(shown.behind, Filled) else "text", count=count)


def _narrowed(code: str, type_: ValueType) -> str:
    if type_.kind not in COUNTING:
        return code
    return f"mp.{'i' if type_.kind == 'int' else 'u'}{type_.bits}({code})"


def _swapped(code: str, bits: int) -> str:
    """An expression that converts a number from network byte order."""
    parts = []
    for at in range(0, bits, 8):
        byte = f"({code} >> {at} & 255)" if at else f"({code} & 255)"
        parts.append(f"{byte} << {bits - 8 - at}" if bits - 8 - at else byte)
    return f"({' | '.join(parts)})"

"""Finds out from the types of the kernel and of programs how the arguments of each traced function are decoded.

The result is a `Described` for each function, defined in `trace.arguments`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TYPE_CHECKING

from multiprobe.arch import native, system_call_of
from multiprobe.arch.operands import Operand, parse_operands
from multiprobe.binaries.mixed import parts_of
from multiprobe.binaries.usdt import UsdtProbeSet
from multiprobe.compiler.frontend.typed import PROGRAM, KernelTypes, close
from multiprobe.errors import MultiprobeError, UsageError
from multiprobe.functions.sets import FunctionSet
from multiprobe.instruments.signatures import prototype_signature
from multiprobe.instruments.trace.arguments import (
    COUNTING,
    REGISTERS,
    UNKNOWN,
    Described,
    Outline,
    TracedArgument,
    count_after,
    load_syscall,
)
from multiprobe.instruments.trace.members import Behind
from multiprobe.instruments.trace.reads import MAX_ARGUMENTS, Planner, Text
from multiprobe.kernel.btf import format as fmt
from multiprobe.kernel.btf import layout
from multiprobe.kernel.btf.values import ValueType, signature, value_type
from multiprobe.kernel.flag_names import load_gfp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.binaries.sets import UserFunctionSet
    from multiprobe.binaries.usdt import UsdtProbe
    from multiprobe.compiler.frontend.typed import Ref
    from multiprobe.functions.kernel import Kernel
    from multiprobe.instruments.trace.members import Spot
    from multiprobe.instruments.trace.reads import Node
    from multiprobe.kernel.btf.types import Btf
    from multiprobe.kernel.btf.values import Signature

_ADDRESS_SIZE = 8
MAX_DEPTH = 3
"""The number of pointers followed from an argument, not counting a final pointer to a string."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to decode.

    depth: follow this many pointers to structs, up to MAX_DEPTH (None: decode the well-known members only)
    only: paths of arguments and members, `count` or `file.f_pos` (None: all arguments)
    """

    depth: int | None = None
    only: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.depth is not None and not 0 <= self.depth <= MAX_DEPTH:
            raise UsageError(f"invalid depth={self.depth}: expected 0 to {MAX_DEPTH}")
        for path in self.only or ():
            if not is_path(path):
                raise UsageError(f"invalid argument path {path!r}: expected names as in count or file.f_pos")


def is_path(text: str) -> bool:
    """Whether this is an argument's name, or the path of a member, `file.f_pos`."""
    return all(name.isidentifier() for name in text.split("."))


class Describer:
    """Describes functions; functions of the same type share a description."""

    def __init__(self, kernel: Kernel, wanted: Wanted) -> None:
        self.kernel = kernel
        self.wanted = wanted
        self.types = KernelTypes.of(kernel)
        self._gfp = load_gfp()
        self._only = None if wanted.only is None else _by_argument(wanted.only)
        self._names: set[str] = set()
        self._found: set[str] = set()
        self._problems: dict[str, UsageError] = {}
        self._known: dict[tuple[str, int], Described] = {}
        self._calls: dict[str, Described | None] = {}
        self._views: dict[int, tuple[KernelTypes, str]] = {}
        self._outlined: dict[tuple[str, int], Described | Outline] = {}
        self._is_plain: dict[tuple[str, int], bool] = {}
        self._results: dict[tuple[str, int], ValueType] = {}

    def describe(self, functions: AnyFunctionSet) -> list[Described]:
        """The descriptions of the functions in order. Raises UsageError for a wanted path that no function has."""
        found = [one for part in parts_of(functions) for one in self._part(part)]
        self._check()
        return found

    def outlines(self, functions: AnyFunctionSet) -> Sequence[Described | Outline]:
        """What the program has to know of the functions in order. Raises UsageError as `describe` does.

        An outline stands for a function behind whose arguments nothing is read, which most are. It takes a fraction of
        the time of a description.
        """
        if self._only is not None:
            return self.describe(functions)
        return [one for part in parts_of(functions) for one in self._outlines(part)]

    def _outlines(self, functions: FunctionSet | UserFunctionSet) -> Sequence[Described | Outline]:
        if not isinstance(functions, FunctionSet):
            return self._part(functions)
        return [self._outline(functions, position, type_id) for position, type_id in enumerate(functions.btf_ids())]

    def _outline(self, functions: FunctionSet, position: int, type_id: int) -> Described | Outline:
        row = functions.rows[position]
        module = functions.table.module(row)
        btf = self.kernel.btf_of(module) if type_id else None
        if btf is None or system_call_of(functions.table.name(row)):
            return self._one(functions, position, type_id)
        key = (module, btf.target(type_id))
        if key not in self._outlined:
            self._outlined[key] = self._plain(btf, module, type_id) or self._one(functions, position, type_id)
        return self._outlined[key]

    def _plain(self, btf: Btf, module: str, function: int) -> Outline | None:
        """The outline of a function; None if something may be read behind its arguments."""
        first = layout.first_slot(btf, function)
        types = [one.type_id for one in btf.parameters(function)[: MAX_ARGUMENTS - first]]
        if not all(self._has_nothing_behind(btf, module, one) for one in types):
            return None
        returned = btf.target(btf.target(function))
        key = (module, returned)
        if key not in self._results:
            self._results[key] = ValueType("raw") if first else value_type(btf, returned)
        n_slots = first + sum(map(bool, types))  # the dots of a variadic function are of type 0
        return Outline(self._results[key], n_slots if any(types) else 0)

    def _has_nothing_behind(self, btf: Btf, module: str, type_id: int) -> bool:
        """Whether nothing is read behind an argument of this type, wherever it is passed."""
        key = (module, type_id)
        if key not in self._is_plain:
            is_buffer = is_text(btf, type_id, is_const=False)
            one = _Parameter("", 0, 0, ValueType("raw"), module, type_id)
            self._is_plain[key] = not type_id or (
                btf.size(type_id) <= _ADDRESS_SIZE
                and not is_buffer
                and self._behind(Behind(self.types, Planner()), one, 0) is None
            )
        return self._is_plain[key]

    def _part(self, functions: FunctionSet | UserFunctionSet) -> list[Described]:
        if isinstance(functions, UsdtProbeSet):
            return list(map(_usdt, functions))
        if not isinstance(functions, FunctionSet):
            return self._of_binary(functions)
        return [self._one(functions, position, type_id) for position, type_id in enumerate(functions.btf_ids())]

    def _of_binary(self, functions: UserFunctionSet) -> list[Described]:
        """Those of a binary's functions: the argument registers, where no types are known."""
        types = functions.table.types
        if types is None:
            return [REGISTERS] * len(functions)
        found = []
        for prototype in functions.prototypes():
            if prototype is None:
                found.append(REGISTERS)
                continue
            view, module = self.types_of(functions)
            key = (module, prototype.type_id)
            if key not in self._known:
                known = prototype_signature(types.btf, prototype, most=MAX_ARGUMENTS)
                self._known[key] = self._typed(view, module, prototype.type_id, known)
            found.append(self._known[key])
        return found

    def types_of(self, functions: UserFunctionSet) -> tuple[KernelTypes, str]:
        """The types of a binary whose types are known, and the name of the module that they are in."""
        types = functions.table.types
        assert types is not None
        if id(types) not in self._views:
            self._views[id(types)] = KernelTypes.of_program(types.btf)
        return self._views[id(types)]

    def _one(self, functions: FunctionSet, position: int, type_id: int) -> Described:
        name = functions.table.name(functions.rows[position])
        if call := system_call_of(name):
            if name not in self._calls:
                self._calls[name] = load_syscall(call)
            known = self._calls[name]
            if known is not None:
                return self._chosen(known)
        module = functions.table.module(functions.rows[position])
        btf = self.kernel.btf_of(module) if type_id else None
        if btf is None:
            return UNKNOWN
        key = (module, btf.target(type_id))
        if key not in self._known:
            found = signature(btf, type_id, most=MAX_ARGUMENTS, gfp=self._gfp)
            self._known[key] = self._typed(self.types, module, type_id, found)
        return self._known[key]

    def _chosen(self, known: Described) -> Described:
        """The description of a system call, with the wanted arguments only."""
        self._names.update(known.names)
        if self._only is None:
            return known
        only = {name for name, rests in self._only.items() if "" in rests}
        for name in set(self._only) - only & set(known.names):
            text = f"{name} is a system call's argument: it points to user memory, whose members can't be shown"
            self._problems.setdefault(name, UsageError(text))
        self._found.update(shown.name for shown in known.shown if shown.name in only)
        return replace(known, shown=tuple(shown for shown in known.shown if shown.name in only))

    def _typed(self, types: KernelTypes, module: str, type_id: int, found: Signature) -> Described:
        planner = Planner()
        is_program = module.startswith(PROGRAM)
        behind = Behind(types, planner, gfp=self._gfp, is_kernel=not is_program)
        shown: list[TracedArgument] = []
        known = zip(found.parameters, found.positions, types.btf(module).parameters(type_id), strict=False)
        for index, ((name, type_), position, param) in enumerate(known):
            self._names.add(name)
            argument = _Parameter(name, index, position, type_, module, param.type_id, found.words.get(index, ()))
            for rest in ("",) if self._only is None else self._only.get(name, ()):
                one = self._member(behind, argument, rest) if rest else self._argument(behind, argument, found)
                if one is not None:
                    shown.append(one)
        return Described(tuple(shown), found.returned, planner.steps(), found.n_registers, is_program=is_program)

    def _argument(self, behind: Behind, one: _Parameter, function: Signature) -> TracedArgument:
        self._found.add(one.name)
        if one.position is None:
            node = self._members_of(behind, one)
            return TracedArgument(one.name, 0, one.type, node, words=one.words if node else ())
        count = count_after(function.parameters, one.index)
        counted_at = None if count is None else function.positions[count[0]]
        node = None
        if counted_at is not None and function.returned.kind in COUNTING:
            is_buffer = is_text(behind.types.btf(one.module), one.type_id, is_const=False)
            node = behind.planner.filled(one.position) if is_buffer else None
        node = node or self._behind(behind, one, one.position)
        if count is None or counted_at is None or not isinstance(node, Text):
            return TracedArgument(one.name, one.position, one.type, node)
        return TracedArgument(one.name, one.position, one.type, node, (counted_at, count[1]))

    def _members_of(self, behind: Behind, one: _Parameter) -> Node | None:
        """The node for the members of a struct that is passed by value; None for what is not readable."""
        if not one.words:
            return None
        try:
            return behind.by_value(one.words).record(
                0, behind.place_of(one.module, one.type_id), depth=1 + (self.wanted.depth or 0)
            )
        except MultiprobeError:
            return None

    def _behind(self, behind: Behind, one: _Parameter, position: int) -> Node | None:
        """The node for what an argument points to; None if nothing is shown of it."""
        if is_text(behind.types.btf(one.module), one.type_id):
            return behind.planner.text(position, (0,))
        depth = self.wanted.depth
        if depth == 0:
            return None
        try:
            spot = behind.argument(behind.types.ref(one.module, one.type_id))
            if spot is None or spot.ref.stars:
                return None
            if depth is None:
                return behind.well_known(position, spot)
            if behind.types.is_record(spot.ref):
                return behind.record(position, spot, depth=depth)
            return None if behind.types.scalar(spot.ref) is None else behind.value(position, spot)
        except MultiprobeError:  # a type that is missing in this kernel's BTF
            return None

    def _member(self, behind: Behind, one: _Parameter, rest: str) -> TracedArgument | None:
        """The member at the path `rest` behind an argument; None if there is no such member."""
        path = f"{one.name}.{rest}"
        try:
            if one.position is None and not one.words:
                raise UsageError(f"{one.name} can't be read: {one.type.reason}")
            spot: Spot | None
            if one.words:
                behind, spot = behind.by_value(one.words), behind.place_of(one.module, one.type_id)
            else:
                spot = behind.argument(behind.types.ref(one.module, one.type_id))
            if spot is None:
                raise UsageError(f"{one.name} is not a pointer, so it has no members")
            end = behind.follow(spot, rest)
            node = behind.value(one.position or 0, end, depth=self.wanted.depth or 0)
            if node is None:
                raise UsageError(f"values of type {behind.types.spell(end.ref)} can't be shown")
        except UsageError as error:
            self._problems.setdefault(path, error)
            return None
        self._found.add(path)
        return TracedArgument(path, one.position or 0, None, node, words=one.words)

    def parameter(self, functions: AnyFunctionSet, index: int, name: str) -> tuple[KernelTypes, Ref]:
        """The type of a function's parameter, by its name, and the types among which it is."""
        for part in parts_of(functions):
            if index < len(part):
                break
            index -= len(part)
        types, module, function = self.types, "", 0
        if isinstance(part, FunctionSet):
            module, function = part.table.module(part.rows[index]), part.btf_ids()[index]
        elif prototype := part.prototypes()[index]:
            (types, module), function = self.types_of(part), prototype.type_id
        parameters = types.btf(module).parameters(function)
        return types, types.ref(module, next(one.type_id for one in parameters if one.name == name))

    def _check(self) -> None:
        """Raise UsageError for a wanted path that no function has."""
        for path in self.wanted.only or ():
            name = path.partition(".")[0]
            error = self._problems.get(path) or self._problems.get(name)
            if path in self._found:
                continue
            if error is not None:
                raise UsageError(f"{path}: {error.message}", hint=error.hint)
            listed = ", ".join(sorted(self._names)[:12])
            raise UsageError(
                f"{path}: none of these functions has an argument {name!r}",
                hint=close(name, self._names) or (f"there are: {listed}" if listed else "none has type information"),
            )


def _usdt(probe: UsdtProbe) -> Described:
    """The arguments of a USDT probe: as many as a site has, numbers with a sign where a site says so."""
    sites = [parse_operands(site.operands, native().machine) for site in probe.sites]
    shown = [TracedArgument(f"arg{n}", n, _type_of(found)) for n, found in enumerate(zip_longest(*sites))]
    return Described(tuple(shown[:MAX_ARGUMENTS]), UNKNOWN.result, n_slots=len(shown))


def _type_of(operands: Sequence[Operand | str | None]) -> ValueType:
    """How an argument is shown, by where the sites have it: what may be an address is in hexadecimal."""
    known = [one for one in operands if isinstance(one, Operand)]
    if any(one.is_signed for one in known):
        return ValueType("int")
    return ValueType("unsigned" if known and all(one.size < _ADDRESS_SIZE for one in known) else "raw")


@dataclass(frozen=True, slots=True)
class _Parameter:
    """A parameter: its index among them, its position (None: it can't be read), and its type in the BTF of a module.

    words: as in `Signature`, of this one
    """

    name: str
    index: int
    position: int | None
    type: ValueType
    module: str
    type_id: int
    words: tuple[int | None, ...] = ()


def _by_argument(paths: Sequence[str]) -> dict[str, list[str]]:
    """`("sk.a.b", "sk", "size")` by argument: {"sk": ["a.b", ""], "size": [""]}."""
    found: dict[str, list[str]] = {}
    for path in paths:
        name, _, rest = path.partition(".")
        found.setdefault(name, []).append(rest)
    return found


def is_text(btf: Btf, type_id: int, *, is_const: bool = True) -> bool:
    """Whether the type is `const char *`; or `char *`, often a buffer to be filled, if not `is_const`."""
    try:
        bare = btf.strip(type_id)
        if not type_id or btf.kind(bare) != fmt.PTR or not btf.target(bare):
            return False
        pointed, has_const = btf.target(bare), False
        while btf.kind(pointed) in fmt.MODIFIERS:
            has_const = has_const or btf.kind(pointed) == fmt.CONST
            pointed = btf.target(pointed)
        return has_const == is_const and btf.kind(pointed) == fmt.INT and btf.name(pointed) == "char"
    except MultiprobeError:
        return False

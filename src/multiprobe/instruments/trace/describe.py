"""Finds in the kernel's types how each traced function's arguments are shown, or those that were asked for.

Knows BTF and `--args`; what a description holds is the business of `trace_types`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from multiprobe.compiler.frontend.typed import KernelTypes, close
from multiprobe.errors import MultiprobeError, UsageError
from multiprobe.instruments.trace.members import Behind
from multiprobe.instruments.trace.reads import MAX_ARGUMENTS, Planner
from multiprobe.instruments.trace.types import UNKNOWN, Argument, Described, load_syscall
from multiprobe.kernel.btf import format as fmt
from multiprobe.kernel.btf.layout import first_slot
from multiprobe.kernel.btf.values import signature
from multiprobe.kernel.flag_names import load_gfp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multiprobe.functions.kernel import Kernel
    from multiprobe.functions.sets import FunctionSet
    from multiprobe.instruments.trace.reads import Node
    from multiprobe.kernel.btf.types import Btf
    from multiprobe.kernel.btf.values import ValueType

WRAPPER = "__x64_sys_"
MAX_DEPTH = 3
"""So many pointers can be followed behind an argument, and the text at the end of the last."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to show: structs `depth` levels deep (None: what is well known of them); `only` some arguments or members
    (None: all)."""

    depth: int | None = None
    only: tuple[str, ...] | None = None


def wanted(depth: int | None = None, args: str | None = None) -> Wanted:
    """From the command's words. Raises UsageError."""
    if depth is not None and not 0 <= depth <= MAX_DEPTH:
        raise UsageError(f"--depth {depth}: structs can be shown 0 to {MAX_DEPTH} levels deep")
    if args is None:
        return Wanted(depth)
    only = tuple(part.strip() for part in args.split(","))
    for path in only:
        if not path or not all(name.isidentifier() for name in path.split(".")):
            raise UsageError(f"--args {args}: {path!r} is no name", hint="names and members: --args count,file.f_pos")
    return Wanted(depth, only)


class Describer:
    """Describes functions, those with the same types once."""

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

    def describe(self, functions: FunctionSet) -> list[Described]:
        """Each function in order. UsageError for what is wanted and no function has."""
        ids = functions.btf_ids()
        found = [self._one(functions, place, type_id) for place, type_id in enumerate(ids)]
        self._check()
        return found

    def _one(self, functions: FunctionSet, place: int, type_id: int) -> Described:
        name = functions.table.name(functions.rows[place])
        if name.startswith(WRAPPER):
            if name not in self._calls:
                self._calls[name] = load_syscall(name.removeprefix(WRAPPER))
            known = self._calls[name]
            if known is not None:
                return self._chosen(known)
        module = functions.table.module(functions.rows[place])
        btf = self.kernel.btf_of(module) if type_id else None
        if btf is None:
            return UNKNOWN
        key = (module, btf.target(type_id))
        if key not in self._known:
            self._known[key] = self._typed(btf, module, type_id)
        return self._known[key]

    def _chosen(self, known: Described) -> Described:
        """Of a system call's arguments those that are wanted."""
        self._names.update(known.names)
        if self._only is None:
            return known
        only = {name for name, rests in self._only.items() if "" in rests}
        for name in set(self._only) - only & set(known.names):
            text = f"{name} is a system call's argument: what is behind it isn't the kernel's"
            self._problems.setdefault(name, UsageError(text))
        self._found.update(shown.name for shown in known.shown if shown.name in only)
        return replace(known, shown=tuple(shown for shown in known.shown if shown.name in only))

    def _typed(self, btf: Btf, module: str, type_id: int) -> Described:
        found = signature(btf, type_id, most=MAX_ARGUMENTS, gfp=self._gfp)
        planner = Planner()
        behind = Behind(self.types, planner, gfp=self._gfp)
        shown: list[Argument] = []
        known = zip(found.parameters, btf.parameters(type_id), strict=False)
        for place, ((name, type_), param) in enumerate(known, start=found.first):
            self._names.add(name)
            argument = _Parameter(name, place, type_, module, param.type_id)
            for rest in ("",) if self._only is None else self._only.get(name, ()):
                one = self._member(behind, argument, rest) if rest else self._argument(behind, argument)
                if one is not None:
                    shown.append(one)
        return Described(tuple(shown), found.returned, planner.steps(), found.n_registers)

    def _argument(self, behind: Behind, one: _Parameter) -> Argument:
        self._found.add(one.name)
        return Argument(one.name, one.place, one.type, self._behind(behind, one))

    def _behind(self, behind: Behind, one: _Parameter) -> Node | None:
        """What to show behind a pointer, unless it was said to show nothing."""
        if is_text(self.types.btf(one.module), one.type_id):
            return behind.planner.text(one.place, (0,))
        depth = self.wanted.depth
        if depth == 0:
            return None
        try:
            spot = behind.argument(self.types.ref(one.module, one.type_id))
            if spot is None or spot.ref.stars:
                return None
            if depth is None:
                return behind.well_known(one.place, spot)
            if self.types.is_record(spot.ref):
                return behind.record(one.place, spot, depth=depth)
            return None if self.types.scalar(spot.ref) is None else behind.value(one.place, spot)
        except MultiprobeError:  # a type that this kernel's BTF doesn't tell
            return None

    def _member(self, behind: Behind, one: _Parameter, rest: str) -> Argument | None:
        """The member `rest` behind an argument; None if there is no such member."""
        path = f"{one.name}.{rest}"
        try:
            spot = behind.argument(self.types.ref(one.module, one.type_id))
            if spot is None:
                raise UsageError(f"{one.name} is no pointer, and has no members")
            end = behind.follow(spot, rest)
            node = behind.value(one.place, end, depth=self.wanted.depth or 0)
            if node is None:
                raise UsageError(f"{self.types.spell(end.ref)} is no type that a trace shows")
        except UsageError as error:
            self._problems.setdefault(path, error)
            return None
        self._found.add(path)
        return Argument(path, one.place, None, node)

    def parameter(self, functions: FunctionSet, place: int, register: int) -> tuple[str, int]:
        """Module and type id of a function's parameter, by the register that holds it."""
        module = functions.table.module(functions.rows[place])
        btf, function = self.types.btf(module), functions.btf_ids()[place]
        return module, btf.parameters(function)[register - first_slot(btf, function)].type_id

    def _check(self) -> None:
        """Complain about what was wanted and isn't there in any function."""
        for path in self.wanted.only or ():
            name = path.partition(".")[0]
            error = self._problems.get(path) or self._problems.get(name)
            if path in self._found:
                continue
            if error is not None:
                raise UsageError(f"--args {path}: {error.message}", hint=error.hint)
            listed = ", ".join(sorted(self._names)[:12])
            raise UsageError(
                f"--args {path}: none of these functions has an argument {name!r}",
                hint=close(name, self._names) or (f"there are: {listed}" if listed else "no types are known of them"),
            )


@dataclass(frozen=True, slots=True)
class _Parameter:
    """An argument, and its type in the BTF of a module."""

    name: str
    place: int
    type: ValueType
    module: str
    type_id: int


def _by_argument(paths: Sequence[str]) -> dict[str, list[str]]:
    """`("sk.a.b", "sk", "size")` by argument: {"sk": ["a.b", ""], "size": [""]}."""
    found: dict[str, list[str]] = {}
    for path in paths:
        name, _, rest = path.partition(".")
        found.setdefault(name, []).append(rest)
    return found


def is_text(btf: Btf, type_id: int) -> bool:
    """Whether it is a `const char *`: what isn't const is often memory to be filled."""
    try:
        bare = btf.strip(type_id)
        if not type_id or btf.kind(bare) != fmt.PTR or not btf.target(bare):
            return False
        pointed, is_const = btf.target(bare), False
        while btf.kind(pointed) in fmt.MODIFIERS:
            is_const = is_const or btf.kind(pointed) == fmt.CONST
            pointed = btf.target(pointed)
        return is_const and btf.kind(pointed) == fmt.INT and btf.name(pointed) == "char"
    except MultiprobeError:
        return False

"""What is attached on this system now: `links()`, `function(name)`, `user_functions(name)`, `mix(functions)`.

Only reads: ids of BPF objects and their info, /proc, tracefs, and kernel memory through /proc/kcore; of functions of
programs also the file, and the memory of processes. Everything that
can't be read is in `missing`: of a picture, or the list given as `missing=`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

# Imported before the functions of the same names are defined below: the submodules stay reachable as modules of the
# package, `multiprobe.inspect.links(...)` is the function.
from multiprobe.arch.facts import CallSite as CallSite
from multiprobe.errors import NoMatchError
from multiprobe.functions.kernel import Kernel
from multiprobe.functions.sets import FunctionSet
from multiprobe.inspect.disassembly import Instruction as Instruction
from multiprobe.inspect.observed import ObservedLink as ObservedLink
from multiprobe.inspect.observed import ObservedProgram as ObservedProgram
from multiprobe.inspect.observed import list_links as _list_links
from multiprobe.inspect.overlap import Mix as Mix
from multiprobe.inspect.overlap import MixRow as MixRow
from multiprobe.inspect.overlap import make_mix as _make_mix
from multiprobe.inspect.owners import Owner as Owner
from multiprobe.inspect.picture import Attached as Attached
from multiprobe.inspect.picture import FunctionPicture as FunctionPicture
from multiprobe.inspect.picture import Trampoline as Trampoline
from multiprobe.inspect.picture import picture as _picture
from multiprobe.inspect.processes import ProcessCode as ProcessCode
from multiprobe.inspect.sources import Missing as Missing
from multiprobe.inspect.sources import Sources as Sources
from multiprobe.inspect.targets import Target as Target
from multiprobe.inspect.uprobe_index import UserAttached as UserAttached
from multiprobe.inspect.uprobes import UprobeTarget as UprobeTarget
from multiprobe.inspect.user_picture import UserFunctionPicture as UserFunctionPicture
from multiprobe.inspect.user_picture import choose_user as _choose_user
from multiprobe.inspect.user_picture import user_pictures as _user_pictures

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multiprobe.binaries.sets import UserFunctionSet
    from multiprobe.functions.sets import Function, FunctionSet

__all__ = [
    "Attached",
    "CallSite",
    "FunctionPicture",
    "Instruction",
    "Missing",
    "Mix",
    "MixRow",
    "ObservedLink",
    "ObservedProgram",
    "Owner",
    "ProcessCode",
    "Sources",
    "Target",
    "Trampoline",
    "UprobeTarget",
    "UserAttached",
    "UserFunctionPicture",
    "function",
    "links",
    "mix",
    "user_functions",
]

_MAX_BARE = 40


def links(*, missing: list[Missing] | None = None) -> tuple[ObservedLink, ...]:
    """Every tracing link on the system, of all processes, in the order of ids.

    missing: a list to which everything that could not be read is appended

    Source: bpf_link_info, /proc/*/fdinfo, and kernel memory for what these lack. Raises NotPermittedError without
    CAP_SYS_ADMIN.
    """
    with Sources() as sources:
        found = _list_links(sources)
        if missing is not None:
            missing += sources.missing
    return found


def function(name: str | int | Function, *, programs: bool = False) -> FunctionPicture:
    """The entry of a kernel function, where it leads, and everything attached to it.

    name: a name, `module:name`, an address (int) or a Function; programs: disassemble the attached programs too

    Source: /proc/kallsyms, /proc/kcore, tracefs, bpf_link_info; `missing` of the result says what could not be read.
    Raises NoMatchError for an unknown name, UsageError for one that several functions have, NotPermittedError if
    addresses are hidden.
    """
    with Sources() as sources:
        return _picture(sources, _spelled(name), programs=programs)


def _spelled(function: str | int | Function) -> str:
    if isinstance(function, str):
        return function
    return hex(function if isinstance(function, int) else function.address)


def user_functions(
    functions: str | UserFunctionSet,
    *,
    pid: int | None = None,
    programs: bool = False,
    missing: list[Missing] | None = None,
) -> tuple[UserFunctionPicture, ...]:
    """Functions of a program or library, the links on them, and their first bytes in processes, in order.

    functions: "/usr/bin/python3:Py*", "libc:malloc", or a set from `Binary.functions`
    pid: the process whose bytes are read, and of which a library is meant; without it, up to 32 processes that have
        mapped the file, fewer for more than 3,125 functions
    programs: disassemble the attached programs too; missing: a list to which everything that could not be read is
        appended

    Source: the file, bpf_link_info, /proc/*/maps and /proc/*/mem. Raises NoMatchError if there is no such file or
    function, or the process has not mapped it; UsageError for a name of another kind, or a number that is no process;
    NotPermittedError without the right to look at the process; DataError for a damaged or changed file.
    """
    with Sources() as sources:
        chosen = _choose_user(sources, functions, pid) if isinstance(functions, str) else functions
        found = _user_pictures(sources, chosen, pid=pid, programs=programs)
        if missing is not None:
            missing += sources.missing
    return found


def mix(
    functions: str | Iterable[str | Function], *, keep_bare: int = _MAX_BARE, missing: list[Missing] | None = None
) -> Mix:
    """Which links are on which functions.

    functions: a pattern, several, or a FunctionSet
    keep_bare: functions without a link are listed if there are at most so many
    missing: a list to which everything that could not be read is appended

    Raises NoMatchError when nothing matches, NotPermittedError without CAP_SYS_ADMIN.
    """
    rows = _rows(functions)
    with Sources() as sources:
        found = _make_mix(rows, _list_links(sources), keep_bare=keep_bare)
        if missing is not None:
            missing += sources.missing
    return found


def _rows(functions: str | Iterable[str | Function]) -> list[MixRow]:
    if isinstance(functions, FunctionSet):
        return _rows_of(functions)
    asked = [functions] if isinstance(functions, str) else list(functions)
    patterns = [item for item in asked if isinstance(item, str)]
    rows = [MixRow(item.name, item.module, item.address) for item in asked if not isinstance(item, str)]
    if patterns:
        matched = Kernel().functions(*patterns, unsafe=True)
        rows += _rows_of(matched)
        if not rows:
            refused = [str(refusal) for refusal in matched.unresolved]
            raise NoMatchError(refused[0] if refused else f"no function matches {' '.join(patterns)}")
    return list(dict.fromkeys(rows))


def _rows_of(functions: FunctionSet) -> list[MixRow]:
    table = functions.table
    return [MixRow(table.name(row), table.module(row), table.addresses[row]) for row in functions.rows]

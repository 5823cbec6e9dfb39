"""Describes functions of a program or library: the facts of the file, the links on them, their bytes in processes.

`user_pictures` reads, from the other modules of this package; the values are snapshots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.arch import native
from multiprobe.binaries.binary import Binary, read_usdt
from multiprobe.binaries.libraries import is_library
from multiprobe.binaries.naming import is_usdt, split_binary
from multiprobe.binaries.usdt import UsdtProbeSet
from multiprobe.errors import DataError, NoMatchError, UsageError
from multiprobe.inspect.observed import list_links
from multiprobe.inspect.picture import JitedRoutine, names_of, read_programs, try_disassemble
from multiprobe.inspect.processes import ProcessCode, find_processes, read_codes
from multiprobe.inspect.uprobe_code import CODE_BYTES
from multiprobe.inspect.uprobe_index import UprobeIndex, UserAttached
from multiprobe.links.mechanisms.judged import judged
from multiprobe.links.mechanisms.uprobe_program import open_unchanged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multiprobe.binaries.file import BinaryFile
    from multiprobe.binaries.sets import UserFunction, UserFunctionSet
    from multiprobe.inspect.disassembly import Instruction
    from multiprobe.inspect.sources import Sources

ENTRY_BYTES = 24
_NO_USDT = "expected functions, not USDT probes"
MAX_DISASSEMBLED = 100
"""The first instructions are disassembled of so many functions at most."""


@dataclass(frozen=True, slots=True)
class UserFunctionPicture:
    """A function of a program or library, everything attached to it, and its first bytes in processes.

    function: its name, file, offset, size, aliases, source of the symbol, and verdict
    build_id: of the file, "" if it has none; code: the bytes of the file there, at most 16
    entry: its first instructions; empty without capstone, and for more than 100 functions at once
    usdt: the USDT probes that have a site in it: the name of each, and the bytes from the function's first to the site
    attached: the links on it, by offset; processes: its first bytes in each process that has mapped the file
    programs: with `programs=True`, their machine code; names: the symbol for each address that it refers to
    """

    function: UserFunction
    build_id: str
    code: bytes
    entry: tuple[Instruction, ...]
    attached: tuple[UserAttached, ...]
    processes: tuple[ProcessCode, ...]
    programs: tuple[JitedRoutine, ...]
    names: dict[int, str]
    usdt: tuple[tuple[str, int], ...] = ()


def choose_user(sources: Sources, name: str, pid: int | None) -> UserFunctionSet:
    """The functions that `BINARY:PATTERN` selects; with `pid`, a library is the one that this process has mapped.

    Raises UsageError for another name, NoMatchError if there is no such file, process or function.
    """
    found = split_binary(name, is_library=is_library if pid is None else bool)
    if found is None:
        hint = "multiprobe inspect '/usr/bin/python3:Py*', or libc:malloc"
        raise UsageError(f"{name!r} names no function of a program or library", hint=hint)
    file, pattern = found
    if is_usdt(pattern):
        raise UsageError(_NO_USDT, hint=f"multiprobe functions --why {name} shows its sites")
    binary = Binary(file) if pid is None or "/" in file else Binary.of(pid, file)
    chosen = binary.functions(pattern)
    if not len(chosen):
        raise NoMatchError(str(chosen.unresolved[0]) if chosen.unresolved else f"no function matches {name}")
    for problem in binary.problems():
        sources.miss(f"symbols of {binary.path}", problem)
    return chosen


def user_pictures(
    sources: Sources, functions: UserFunctionSet, *, pid: int | None = None, programs: bool = False
) -> tuple[UserFunctionPicture, ...]:
    """Look at functions of one file; at their bytes in process `pid`, or in those that have mapped the file.

    Raises DataError if the file has changed since, and what `find_processes` raises.
    """
    if isinstance(functions, UsdtProbeSet):
        raise UsageError(_NO_USDT)
    with open_unchanged(functions) as file:
        processes = find_processes(sources, file, pid, n_sites=len(functions))
        probes = UprobeIndex(sources, file, sources.attempt("links", lambda: list_links(sources)) or ())
        starts = functions.file_offsets()
        sites = [(start, _original(file, probes, start)) for start in starts]
        found = [read_codes(sources, process, sites) for process in processes]
        probed = _usdt_sites(sources, file, functions.table.build_id)
        shown, notes = judged(functions)
        for note in notes:
            sources.miss("verdicts", note)
        return tuple(
            _picture(
                sources,
                file,
                function,
                build_id=functions.table.build_id,
                attached=probes.within(function.file_offset, function.size),
                usdt=tuple(
                    (name, at - function.file_offset)
                    for at, name in probed
                    if 0 <= at - function.file_offset < function.size
                ),
                processes=tuple(code for codes in found for code in codes[n]),
                has_entry=len(shown) <= MAX_DISASSEMBLED,
                has_programs=programs,
            )
            for n, function in enumerate(shown)
        )


def _usdt_sites(sources: Sources, file: BinaryFile, build_id: str) -> list[tuple[int, str]]:
    """The sites of the file's USDT probes, by their offsets in the file, each with the probe's name."""
    try:
        table = read_usdt(file, build_id=build_id)
    except DataError as error:
        sources.miss("USDT probes", str(error))
        return []
    named = zip(table.names, table.sites, strict=True)
    return sorted((site.file_offset, name) for name, sites in named for site in sites)


def _original(file: BinaryFile, probes: UprobeIndex, start: int) -> bytes:
    """The bytes of the file by which those of processes are judged: up to the next probe."""
    following = probes.next_after(start)
    size = CODE_BYTES if following is None else min(CODE_BYTES, following - start)
    return file[start : start + size]


def _picture(
    sources: Sources,
    file: BinaryFile,
    function: UserFunction,
    *,
    build_id: str,
    attached: tuple[UserAttached, ...],
    usdt: tuple[tuple[str, int], ...],
    processes: Sequence[ProcessCode],
    has_entry: bool,
    has_programs: bool,
) -> UserFunctionPicture:
    start = function.file_offset + function.offset
    code = file[start : start + ENTRY_BYTES]
    entry: tuple[Instruction, ...] = ()
    if has_entry and native().parse_site is not None:
        size = max(function.size - function.offset, 0) or ENTRY_BYTES
        entry = try_disassemble(sources, code[:size], function.address + function.offset)
    routines = read_programs(sources, (on.link.program for on in attached)) if has_programs else ()
    instructions = (instruction for routine in routines for instruction in routine.instructions)
    return UserFunctionPicture(
        function,
        build_id,
        code[:CODE_BYTES],
        entry,
        attached,
        tuple(processes),
        routines,
        names_of(sources, instructions) if routines else {},
        usdt,
    )

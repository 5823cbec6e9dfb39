"""Finds the source lines of functions: which file has the DWARF of a binary, and of the running kernel."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from multiprobe.binaries.debug_files import open_debug_file, section_bytes
from multiprobe.binaries.dwarf_lines import SourceLine, has_lines, read_lines, require_pyelftools
from multiprobe.binaries.file import BinaryFile
from multiprobe.binaries.mixed import kernel_of
from multiprobe.binaries.sets import UserFunction
from multiprobe.elf import parse_sections
from multiprobe.errors import DataError, NotSupportedError
from multiprobe.functions.kernel import parse_build_id
from multiprobe.plurals import plural_text

if TYPE_CHECKING:
    from multiprobe.binaries.mixed import AnyFunction, AnyFunctionSet
    from multiprobe.functions.kernel import Kernel

VMLINUX = (
    "/usr/lib/debug/boot/vmlinux-{}",
    "/usr/lib/debug/lib/modules/{}/vmlinux",
    "/usr/lib/modules/{}/build/vmlinux",
)
"""Where distributions put the kernel with its DWARF, by release."""
_MAX_NOTES = 1 << 16

Place = tuple[str, int]
"""A binary ("": the kernel), and the address of a function there."""


@dataclass(frozen=True, slots=True)
class FunctionSources:
    """Where functions begin in source files.

    lines: by binary and address; problems: why functions have none, a sentence each
    """

    lines: Mapping[Place, SourceLine]
    problems: tuple[str, ...] = ()

    def of(self, function: AnyFunction) -> SourceLine | None:
        """The line at which a function begins; None if it is not known."""
        return self.lines.get(_place(function))


def find_sources(functions: AnyFunctionSet, *, vmlinux: str | os.PathLike[str] | None = None) -> FunctionSources:
    """The source lines of functions, by DWARF.

    vmlinux: the running kernel's image with DWARF; by default it is looked for where debug packages put it
    Raises NotSupportedError without pyelftools, or if no DWARF is found for the kernel or a binary; NoMatchError if
    there is no such file; DataError for a damaged file, and for a kernel of another build.
    """
    require_pyelftools()
    lines: dict[Place, SourceLine] = {}
    problems = []
    in_modules = 0
    by_file: dict[str, list[AnyFunction]] = {}
    for function in functions:
        if isinstance(function, UserFunction) or not function.module:
            by_file.setdefault(_place(function)[0], []).append(function)
        else:
            in_modules += 1
    for path, some in by_file.items():
        found = _of_binary(path, some) if path else _of_kernel(kernel_of(functions), some, vmlinux)
        lines |= {(path, address): line for address, line in found.items()}
        without = sum((path, function.address) not in lines for function in some)
        if without:
            problems.append(f"{plural_text(without, 'function')} of {path or 'the kernel'} without a line in its DWARF")
    if in_modules:
        problems.append(f"{plural_text(in_modules, 'function')} of kernel modules, whose DWARF is not read")
    return FunctionSources(lines, tuple(problems))


def _place(function: AnyFunction) -> Place:
    return function.binary if isinstance(function, UserFunction) else "", function.address


def _of_binary(path: str, functions: Iterable[AnyFunction]) -> dict[int, SourceLine]:
    addresses = {function.address for function in functions}
    problems: list[str] = []
    with BinaryFile(path) as file:
        if has_lines(file):
            return read_lines(file, addresses)
        debug = open_debug_file(file, parse_sections(file), problems)
    if debug is not None:
        with debug:
            if has_lines(debug):
                return read_lines(debug, addresses)
    raise NotSupportedError(
        "; ".join([f"{path} has no source lines (DWARF)", *problems]),
        hint="compile it with -g, or install the package with its debug information (-dbgsym, -debuginfo)",
    )


def _of_kernel(
    kernel: Kernel | None, functions: list[AnyFunction], vmlinux: str | os.PathLike[str] | None
) -> dict[int, SourceLine]:
    assert kernel is not None
    read_symbols = import_module("multiprobe.binaries.symbols").read_symbols  # NumPy, which coverage does not need else
    with BinaryFile(_vmlinux(kernel.release) if vmlinux is None else os.fspath(vmlinux)) as file:
        sections = parse_sections(file)
        own, its = kernel.build_id, parse_build_id(section_bytes(file, sections, ".notes", limit=_MAX_NOTES))
        if own and own != its:
            raise DataError(f"{file.path} is of another build ({its or 'without an id'}) than the kernel ({own})")
        if not has_lines(file):
            raise NotSupportedError(f"{file.path} has no source lines (DWARF)", hint=_hint(kernel.release))
        names = {function.name: function.address for function in functions}
        symbols = {name: address for table in read_symbols(file, sections)
                   for name, address in zip(table.names, table.addresses.tolist(), strict=True)}  # fmt: skip
        shift = find_shift(names, symbols)
        found = read_lines(file, {function.address - shift for function in functions})
    return {address + shift: line for address, line in found.items()}


def find_shift(running: Mapping[str, int], linked: Mapping[str, int]) -> int:
    """By how much the running kernel's addresses are above those it was linked for (KASLR): what most names say.

    A name of several functions says something else. Raises DataError if no name is in both.
    """
    shifts = Counter(address - linked[name] for name, address in running.items() if name in linked)
    if not shifts:
        raise DataError("vmlinux has none of the functions among its symbols")
    return shifts.most_common(1)[0][0]


def _vmlinux(release: str) -> str:
    found = next((path for one in VMLINUX if os.path.exists(path := one.format(release))), None)
    if found is None:
        raise NotSupportedError(f"no source lines (DWARF) of the kernel {release} are installed", hint=_hint(release))
    return found


def _hint(release: str) -> str:
    return (
        f"install the kernel's debug information (linux-image-{release}-dbg on Debian, linux-image-{release}-dbgsym on "
        "Ubuntu, kernel-debuginfo on Fedora), or give --vmlinux FILE"
    )

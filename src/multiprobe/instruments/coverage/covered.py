"""`Coverage`: which functions ran, in which runs, who called them first, and what follows from their names. Pure."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.arch import system_call_of
from multiprobe.binaries.sources import find_sources
from multiprobe.functions.sets import Function
from multiprobe.instruments.coverage.lcov import lcov

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from multiprobe.binaries.mixed import AnyFunction, AnyFunctionSet
    from multiprobe.binaries.sources import FunctionSources
    from multiprobe.links.report import Report

HOOKS = "security_"
"""How the kernel calls the functions through which it asks security modules (security/security.c)."""


@dataclass(frozen=True, slots=True)
class FirstHit:
    """The first call of a function.

    run: in which run, from 1; ns: nanoseconds since that run began
    process, thread: ids in the pid namespace of this process (negative: outside of it); name: of the thread
    """

    run: int
    ns: int
    process: int
    thread: int
    name: str


@dataclass(frozen=True, slots=True)
class CoveredFunction:
    """A function that ran.

    n_runs: in how many runs; first: its first call, None if the event about it was lost
    """

    function: AnyFunction
    n_runs: int
    first: FirstHit | None


@dataclass(frozen=True, slots=True)
class CheckedCapability:
    """A capability that was asked for.

    name: as CAP_SYS_ADMIN; granted, denied: how often the answer was yes and no, in all runs
    """

    name: str
    granted: int
    denied: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which functions ran; from `mp.coverage`.

    seconds: how long it measured; n_runs: of the command
    functions: all that were attached; covered: those that ran, in the order of their first calls
    capabilities: asked for, by number; None if `security_capable` is not among the functions, or could not be attached
    report: of the attachment; statuses: how each run ended (negative: the signal that killed it)
    """

    seconds: float
    n_runs: int
    functions: AnyFunctionSet
    covered: Sequence[CoveredFunction]
    capabilities: Sequence[CheckedCapability] | None = None
    report: Report | None = None
    statuses: tuple[int, ...] = ()

    @property
    def always(self) -> list[CoveredFunction]:
        """The functions that ran in every run."""
        return [one for one in self.covered if one.n_runs == self.n_runs]

    @property
    def sometimes(self) -> list[CoveredFunction]:
        """The functions that ran in some of the runs only."""
        return [one for one in self.covered if one.n_runs != self.n_runs]

    @property
    def system_calls(self) -> list[str]:
        """The names of the system calls whose wrappers (`__x64_sys_openat`) ran, sorted."""
        return sorted(set(map(system_call_of, self._names_in_image())) - {""})

    @property
    def lsm_hooks(self) -> list[str]:
        """The functions of the kernel image that ask security modules (`security_file_open`), sorted."""
        return sorted({name for name in self._names_in_image() if name.startswith(HOOKS)})

    def lcov(self, *, vmlinux: str | os.PathLike[str] | None = None) -> str:
        """The functions in LCOV's format (geninfo(1)), with the source lines at which they begin, by DWARF.

        vmlinux: the kernel's image with DWARF; by default it is looked for where debug packages put it
        A function's count is the number of runs in which it ran. Functions without a source line are left out.
        Raises NotSupportedError without pyelftools, or without DWARF for the kernel or one of the binaries;
        NoMatchError for a file that is gone; DataError for a damaged file, and for a kernel of another build.
        """
        return "".join(f"{line}\n" for line in lcov_lines(self, find_sources(self.functions, vmlinux=vmlinux)))

    def _names_in_image(self) -> Iterator[str]:
        """The names of the functions of the kernel image that ran."""
        for one in self.covered:
            if isinstance(one.function, Function) and not one.function.module:
                yield one.function.name


def lcov_lines(coverage: Coverage, sources: FunctionSources) -> Iterator[str]:
    """The lines of an LCOV file; functions without a source line are left out."""
    runs = {_id_of(one.function): one.n_runs for one in coverage.covered}
    found = ((sources.of(function), function) for function in coverage.functions)
    return lcov((line, function.name, runs.get(_id_of(function), 0)) for line, function in found if line and line.path)


def _id_of(function: AnyFunction) -> tuple[str, int, str]:
    """What tells a function from all others that were attached."""
    return function.module, function.address, str(function)


@dataclass(frozen=True, slots=True)
class ModuleCoverage:
    """How many functions of a module ("": the kernel image) or binary ran, and ran in every run, of those attached."""

    module: str
    attached: int
    covered: int
    always: int


def by_module(coverage: Coverage) -> list[ModuleCoverage]:
    """A row for each module and binary of the attached functions: those with the most covered functions first."""
    numbers: dict[str, list[int]] = {}
    for function in coverage.functions:
        numbers.setdefault(function.module, [0, 0, 0])[0] += 1
    for one in coverage.covered:
        counts = numbers[one.function.module]
        counts[1] += 1
        counts[2] += one.n_runs == coverage.n_runs
    rows = [ModuleCoverage(module, *counts) for module, counts in numbers.items()]
    return sorted(rows, key=lambda row: (-row.covered, -row.attached, row.module))

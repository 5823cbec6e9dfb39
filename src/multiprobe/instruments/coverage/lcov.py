"""Writes coverage as LCOV, the format of geninfo(1): which functions of which source files ran. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.names import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from multiprobe.binaries.mixed import AnyFunction
    from multiprobe.binaries.sources import Sources
    from multiprobe.instruments.coverage.covered import Coverage

    Functions = dict[tuple[int, str], int]


def lcov(coverage: Coverage, sources: Sources) -> Iterator[str]:
    """The lines of an LCOV file, without their ends.

    Functions count in how many runs they ran, 0 for those that did not; functions without a source line are left out.
    Functions of the same name on the same line, as `static inline` ones of a header are, are one.
    """
    runs = {id_of(one.function): one.n_runs for one in coverage.covered}
    files: dict[str, Functions] = {}
    for function in coverage.functions:
        source = sources.of(function)
        if source is not None and source.path:
            functions = files.setdefault(printable(source.path), {})
            key = source.line, printable(function.name)
            functions[key] = max(functions.get(key, 0), runs.get(id_of(function), 0))
    for path in sorted(files):
        yield from _record(path, sorted(files[path].items()))


def id_of(function: AnyFunction) -> tuple[str, int, str]:
    """What tells a function from all others that were attached."""
    return function.module, function.address, str(function)


def _record(path: str, functions: Iterable[tuple[tuple[int, str], int]]) -> Iterator[str]:
    functions = list(functions)
    lines: dict[int, int] = {}
    for (line, _), n_runs in functions:
        lines[line] = max(lines.get(line, 0), n_runs)
    yield "TN:"
    yield f"SF:{path}"
    yield from (f"FN:{line},{name}" for (line, name), _ in functions)
    yield from (f"FNDA:{n_runs},{name}" for (_, name), n_runs in functions)
    yield f"FNF:{len(functions)}"
    yield f"FNH:{sum(n_runs > 0 for _, n_runs in functions)}"
    yield from (f"DA:{line},{n_runs}" for line, n_runs in sorted(lines.items()))
    yield f"LF:{len(lines)}"
    yield f"LH:{sum(n_runs > 0 for n_runs in lines.values())}"
    yield "end_of_record"

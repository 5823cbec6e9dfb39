"""Writes coverage as LCOV, the format of geninfo(1): which functions of which source files ran. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.names import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from multiprobe.binaries.dwarf_lines import SourceLine

    Functions = dict[tuple[int, str], int]


def lcov(functions: Iterable[tuple[SourceLine, str, int]]) -> Iterator[str]:
    """The lines of an LCOV file, without their ends.

    functions: the line at which each begins, its name, and in how many runs it ran. Functions of the same name on the
        same line, as `static inline` ones of a header are, are one
    """
    files: dict[str, Functions] = {}
    for source, name, n_runs in functions:
        known = files.setdefault(printable(source.path), {})
        key = source.line, printable(name)
        known[key] = max(known.get(key, 0), n_runs)
    for path in sorted(files):
        yield from _record(path, sorted(files[path].items()))


def _record(path: str, functions: list[tuple[tuple[int, str], int]]) -> Iterator[str]:
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

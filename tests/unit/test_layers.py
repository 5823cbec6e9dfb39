"""Imports point down, ctypes stays at its seam, and nothing grows beyond what can be read.

The order is drawn in docs/architecture.md. Imports for type checkers only count as well: they are knowledge too.
"""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

import pytest

import multiprobe

SOURCE = Path(multiprobe.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))

#: What each room may import besides itself. The façade is `multiprobe` itself.
BASE = {
    "errors",
    "cachedir",
    "markup",
}
ALLOWED = {
    "errors": set(),
    "markup": set(),
    "cachedir": {"errors"},
    "table": {"errors", "markup"},
    "uapi": {"errors"},
    "syscalls": {*BASE, "uapi"},
    "kernel": {*BASE, "uapi", "syscalls"},
    "functions": {*BASE, "uapi", "syscalls", "kernel"},
    "maps": {*BASE, "uapi", "syscalls", "kernel", "functions", "table"},
    "compiler": {*BASE, "uapi", "syscalls", "kernel", "functions", "maps"},
    "links": {*BASE, "uapi", "syscalls", "kernel", "functions", "maps", "compiler"},
    "instruments": {*BASE, "kernel", "functions", "maps", "compiler", "links", "table", "façade"},
    "inspect": {*BASE, "uapi", "syscalls", "kernel", "functions", "maps", "compiler", "links"},
    "output": {"errors", "markup"},
    "vm": {*BASE, "uapi", "syscalls", "output", "façade"},
    "cli": {
        *BASE,
        "kernel",
        "functions",
        "maps",
        "compiler",
        "links",
        "instruments",
        "inspect",
        "output",
        "vm",
        "table",
        "façade",
    },
    "façade": {"errors", "functions", "inspect", "maps", "compiler", "links", "kernel", "table"},
    "__main__": {"cli"},
}
ROOMS = {path.stem if path.is_file() else path.name for path in SOURCE.iterdir()} - {"__init__", "__pycache__", "py"}

MAX_MODULE_LINES = 500
MAX_FUNCTION_LINES = 60


def room_of(path: Path) -> str:
    relative = path.relative_to(SOURCE)
    if relative.parts == ("__init__.py",):
        return "façade"
    return relative.parts[0].removesuffix(".py")


def imports_of(tree: ast.AST) -> set[str]:
    """Names of all modules that a file imports, each name of `from a import b` as `a.b`."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms_imported(tree: ast.AST) -> set[str]:
    rooms = set()
    for name in imports_of(tree):
        parts = name.split(".")
        if parts[0] == "multiprobe":
            rooms.add(parts[1] if len(parts) > 1 and parts[1] in ROOMS else "façade")
    return rooms


def name_of(path: Path) -> str:
    return str(path.relative_to(SOURCE))


@pytest.fixture(scope="module")
def trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text()) for path in MODULES}


def test_every_room_has_its_place() -> None:
    assert ROOMS - {"py.typed"} <= set(ALLOWED)


def test_there_is_no_way_round() -> None:
    """The table itself has no cycle, the façade apart, which stands for what it re-exports."""
    above = {room: allowed - {"façade"} for room, allowed in ALLOWED.items()}
    while above:
        free = {room for room, allowed in above.items() if not allowed & set(above)}
        assert free, f"a cycle among {sorted(above)}"
        above = {room: allowed for room, allowed in above.items() if room not in free}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_down(path: Path, trees: dict[Path, ast.Module]) -> None:
    room = room_of(path)
    assert rooms_imported(trees[path]) - {room} <= ALLOWED[room]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_ctypes_stays_at_its_seam(path: Path, trees: dict[Path, ast.Module]) -> None:
    if room_of(path) != "syscalls":
        assert not {name for name in imports_of(trees[path]) if name.split(".")[0] in ("ctypes", "_ctypes")}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_say_what_they_know_and_stay_readable(path: Path, trees: dict[Path, ast.Module]) -> None:
    tree = trees[path]
    assert ast.get_docstring(tree), "a module begins by saying what it knows"
    assert len(path.read_text().splitlines()) <= MAX_MODULE_LINES
    long = {name: n for name, n in function_lines(tree).items() if n > MAX_FUNCTION_LINES}
    assert not long


def test_the_median_function_is_short(trees: dict[Path, ast.Module]) -> None:
    lengths = [n for tree in trees.values() for n in function_lines(tree).values()]
    assert statistics.median(lengths) <= 12


def function_lines(tree: ast.AST) -> dict[str, int]:
    return {
        f"{node.name}:{node.lineno}": (node.end_lineno or node.lineno) - node.lineno + 1
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }

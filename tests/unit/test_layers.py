"""Imports point down and form no circle, ctypes stays at its seam, every module is importable by itself, and nothing
grows beyond what can be read.

The order is drawn in docs/architecture.md. Imports for type checkers only count as well: they are knowledge too.
What is not reached yet is listed under "To do": numbers may only fall, entries only go.
"""

from __future__ import annotations

import ast
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import multiprobe

SOURCE = Path(multiprobe.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))

#: What each room may import besides itself. The façade is `multiprobe` itself.
BASE = {
    "errors",
    "cachedir",
    "cells",
    "markup",
    "names",
    "plurals",
    "threads",
}
ALLOWED = {
    "errors": set(),
    "names": set(),
    "cells": set(),
    "plurals": set(),
    "threads": {"errors"},
    "markup": {"names"},
    "cachedir": {"errors"},
    "disassembler": {"errors"},
    "elf": {"errors"},
    "table": {"errors", "markup", "names", "plurals"},
    "uapi": {"errors", "names"},
    "arch": {"errors"},
    "syscalls": {*BASE, "arch", "uapi"},
    "kernel": {*BASE, "arch", "uapi", "syscalls"},
    "functions": {*BASE, "arch", "uapi", "syscalls", "kernel"},
    "binaries": {*BASE, "arch", "disassembler", "elf", "functions", "kernel"},
    "maps": {*BASE, "uapi", "syscalls", "kernel", "functions", "table"},
    "compiler": {*BASE, "elf", "arch", "uapi", "syscalls", "kernel", "functions", "maps"},
    "links": {*BASE, "binaries", "elf", "uapi", "syscalls", "kernel", "functions", "maps", "compiler"},
    "instruments": {
        *BASE,
        "binaries",
        "elf",
        "arch",
        "kernel",
        "functions",
        "maps",
        "compiler",
        "links",
        "table",
        "façade",
    },
    "bench": {
        *BASE,
        "arch",
        "kernel",
        "functions",
        "maps",
        "links",
        "instruments",
        "output",
        "syscalls",
        "uapi",
        "façade",
    },
    "inspect": {
        *BASE,
        "binaries",
        "disassembler",
        "elf",
        "arch",
        "uapi",
        "syscalls",
        "kernel",
        "functions",
        "maps",
        "compiler",
        "links",
    },
    "runs": {*BASE, "functions", "links", "instruments", "table", "façade"},
    "hosts": {*BASE, "syscalls", "runs", "façade"},
    "output": {"cells", "errors", "markup", "names", "plurals", "threads"},
    "vm": {*BASE, "elf", "arch", "uapi", "syscalls", "output", "façade"},
    "cli": {
        *BASE,
        "bench",
        "binaries",
        "kernel",
        "functions",
        "maps",
        "compiler",
        "links",
        "instruments",
        "inspect",
        "runs",
        "hosts",
        "output",
        "vm",
        "table",
        "façade",
    },
    "façade": {
        "binaries",
        "errors",
        "functions",
        "inspect",
        "instruments",
        "maps",
        "compiler",
        "links",
        "kernel",
        "runs",
        "hosts",
        "table",
    },
    "__main__": {"cli"},
}
ROOMS = {path.stem if path.is_file() else path.name for path in SOURCE.iterdir()} - {"__init__", "__pycache__", "py"}

MAX_MODULE_LINES = 500
MAX_FUNCTION_LINES = 60
MAX_MEDIAN_FUNCTION_LINES = 7
HEAVY = {
    "numpy",
    "llvmlite",
    "rich",
    "textual",
    "pyarrow",
    "pandas",
    "capstone",
    "pycxxfilt",
    "asyncio",
    "http",
    "distributed",
    "matplotlib",
}
"""Libraries that may be imported inside functions, and with them our own modules that import these at their top."""

MAX_ANY = 55
MAX_DEFERRED = 65
LIGHT_DEFERRED = {
    "multiprobe.vm: multiprobe.vm.rerun",  # a tenth of the start of a command that runs here
    "multiprobe.cli.measuring: multiprobe.runs.this_run",  # only with --save
    "multiprobe.cli.measuring: multiprobe.cli.dry_run",
    "multiprobe.cli.measuring: multiprobe.cli.live",
    "multiprobe.cli.measuring: multiprobe.cli.following",  # only with --metrics
    "multiprobe.cli.measuring: multiprobe.binaries.locating",  # only with --pid
    "multiprobe.cli.measuring: multiprobe.output.page",  # only with --html
    "multiprobe.cli.live: multiprobe.instruments.stacks.callers",  # only with --live
    "multiprobe.cli.count: multiprobe.cli.count_views",  # only with --live and --metrics, as the next
    "multiprobe.cli.latency: multiprobe.cli.latency_views",
    "multiprobe.cli.rights: multiprobe.kernel.limits",  # only for users other than root
    "multiprobe.cli.main: traceback",  # only with --debug
    "multiprobe.links.attach: multiprobe.links.mechanisms.harm",  # only for functions of binaries, as the next two
    "multiprobe.links.mechanisms.linking: multiprobe.links.mechanisms.uprobe_multi",
    "multiprobe.links.verify: multiprobe.links.mechanisms.uprobe_multi",
    "multiprobe.markup: html.escape",  # its 2,231 entities; only in notebooks
    "multiprobe.links.plan.usable: multiprobe.kernel.diagnosis",  # only on the way to an error, as the next
    "multiprobe.links.plan.usable: multiprobe.kernel.examine",
}


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
    assert statistics.median(lengths) <= MAX_MEDIAN_FUNCTION_LINES


def function_lines(tree: ast.AST) -> dict[str, int]:
    return {
        f"{node.name}:{node.lineno}": (node.end_lineno or node.lineno) - node.lineno + 1
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def module_of(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_of(path) for path in MODULES}


def modules_imported(node: ast.AST) -> set[str]:
    """Modules that the imports below a node name; a module of ours for `from package import module`."""
    found = set()
    for name in imports_of(node):
        parent = name.rpartition(".")[0]
        found.add(name if name in NAMES or not parent else parent if parent in NAMES else name)
    return found


@pytest.fixture(scope="module")
def graph(trees: dict[Path, ast.Module]) -> dict[str, set[str]]:
    """What each module imports of ours; the façade, which stands for what it re-exports, is left out."""
    ours = NAMES - {"multiprobe"}
    return {module_of(path): modules_imported(tree) & ours - {module_of(path)} for path, tree in trees.items()}


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """All that one comes to from a module, itself only on a circle."""
    found: set[str] = set()
    ahead = list(graph[start])
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead += graph.get(name, ())
    return found


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """The groups of modules that import one another."""
    reach = {name: reachable(graph, name) for name in graph}
    groups = {
        frozenset(other for other in reach[name] if name in reach[other]) for name in graph if name in reach[name]
    }
    return sorted(map(set, groups), key=sorted)


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [{"b", "c"}]


def test_modules_do_not_import_one_another(graph: dict[str, set[str]]) -> None:
    assert circles(graph) == []


def test_no_class_name_is_there_twice(trees: dict[Path, ast.Module]) -> None:
    places = defaultdict(list)
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name_of(path))
    assert not {name: where for name, where in places.items() if len(where) > 1}


def test_any_is_rare(trees: dict[Path, ast.Module]) -> None:
    uses = [
        node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "Any"
    ]
    assert len(uses) <= MAX_ANY


def deferred(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports inside functions."""
    found = {
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    return iter(sorted(found, key=lambda node: node.lineno))


def run_at_import(tree: ast.Module) -> set[str]:
    """What a module imports when it is imported itself."""
    later: set[ast.AST] = set(deferred(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            later |= {child for child in ast.walk(node) if isinstance(child, ast.Import | ast.ImportFrom)}
    now = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom) and n not in later]
    return set().union(*map(modules_imported, now))


def heavy_modules(trees: dict[Path, ast.Module]) -> set[str]:
    """Our modules whose import brings a heavy library with it."""
    imports = {module_of(path): run_at_import(tree) for path, tree in trees.items()}
    heavy = {name for name, found in imports.items() if {other.split(".")[0] for other in found} & HEAVY}
    while more := {name for name, found in imports.items() if found & heavy} - heavy:
        heavy |= more
    return heavy


def test_only_heavy_imports_are_deferred(trees: dict[Path, ast.Module]) -> None:
    heavy = heavy_modules(trees)
    every = [(module_of(path), node) for path, tree in trees.items() for node in deferred(tree)]
    assert len(every) <= MAX_DEFERRED
    light = {
        f"{module}: {name}"
        for module, node in every
        for name in modules_imported(node)
        if name.split(".")[0] not in HEAVY and name not in heavy
    }
    assert not light - LIGHT_DEFERRED


IMPORT_EACH = r"""
import importlib, os, sys, warnings
for library in ("numpy", "rich.console", "llvmlite.binding", "textual.app"):
    importlib.import_module(library)
warnings.simplefilter("ignore", DeprecationWarning)
status = 0
for name in sys.argv[1:]:
    child = os.fork()
    if not child:
        try:
            exec(f"import {name} as it\nassert it.__name__ == {name!r}, it")
        except BaseException as error:
            print(f"import {name} as it: {type(error).__name__}: {error}", flush=True)
            os._exit(1)
        os._exit(0)
    status |= os.waitpid(child, 0)[1]
sys.exit(bool(status))
"""


def test_every_module_is_importable_by_itself(tmp_path: Path) -> None:
    """In an interpreter that has none of our modules yet: each in a child of its own."""
    names = sorted(NAMES - {"multiprobe.__main__"})
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-c", IMPORT_EACH, *names]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize(
    "name", ["multiprobe.links.report.Report", "multiprobe.functions.sets.FunctionSet", "multiprobe.maps.specs.Array"]
)
def test_any_name_can_be_replaced(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, _, attribute = name.rpartition(".")
    monkeypatch.setattr(name, "replaced")
    assert getattr(sys.modules[module], attribute) == "replaced"

"""The package's byte code in one file: used where it is right, and never where it isn't."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from multiprobe import bytecode

REPORT = "import sys; sys.path.insert(0, {parent!r}); from multiprobe.bytecode import install; install(); {rest}"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A small package of the same name, with its bundle."""
    made = tmp_path / "multiprobe"
    (made / "room").mkdir(parents=True)
    (made / "__init__.py").write_text("")
    (made / "plain.py").write_text("ANSWER = 1\n\ndef ask():\n    return ANSWER\n")
    (made / "room" / "__init__.py").write_text("")
    (made / "room" / "inner.py").write_text("from multiprobe.plain import ask\n")
    shutil.copy(bytecode.__file__, made / "bytecode.py")
    assert bytecode.write(str(made))
    return made


def run(package: Path, rest: str, *options: str) -> str:
    """What a new Python, without site, prints that starts from the bundle of `package`."""
    code = REPORT.format(parent=str(package.parent), rest=rest)
    line = [sys.executable, "-S", *options, "-c", code]
    return subprocess.run(line, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


TELL = (
    "import multiprobe.plain as p, multiprobe.room.inner as i;"
    " print(p.ANSWER, type(p.__spec__.loader).__name__, i.ask())"
)


def test_modules_come_from_the_bundle(package: Path) -> None:
    assert run(package, TELL) == "1 _Loader 1"
    tell = "import multiprobe.room as r, multiprobe.plain as p; print(r.__path__[0], p.__file__, p.__cached__)"
    cached = package / "__pycache__" / f"plain.{sys.implementation.cache_tag}.pyc"
    assert run(package, tell).split() == [str(package / "room"), str(package / "plain.py"), str(cached)]


def test_sources_can_still_be_shown(package: Path) -> None:
    """Tracebacks and `inspect` (which the compiler of programs reads functions with) find the lines."""
    assert run(package, "import inspect, multiprobe.plain as p; print(inspect.getsource(p.ask))").startswith("def ask")


@pytest.mark.parametrize("is_same_size", [False, True])
def test_a_changed_source_counts(package: Path, is_same_size: bool) -> None:
    path = package / "plain.py"
    text = path.read_text().replace("ANSWER = 1", "ANSWER = 2" if is_same_size else "ANSWER = 22")
    path.write_text(text)
    os.utime(path, ns=(1, 1))
    assert run(package, TELL) == ("2 SourceFileLoader 2" if is_same_size else "22 SourceFileLoader 22")


def test_a_deleted_module_is_gone(package: Path) -> None:
    (package / "plain.py").unlink()
    tell = "import importlib.util; print(importlib.util.find_spec('multiprobe.plain'))"
    assert run(package, tell) == "None"


def test_a_reload_runs_the_code_again(package: Path) -> None:
    tell = "import importlib, multiprobe.plain as p; p.ANSWER = 5; importlib.reload(p); print(p.ANSWER)"
    assert run(package, tell) == "1"


def test_no_bundle_is_no_error(package: Path) -> None:
    Path(bytecode.bundle_path(str(package))).unlink()
    assert run(package, TELL) == "1 SourceFileLoader 1"


def test_damaged_bundles_are_left_alone(package: Path) -> None:
    """Cut off anywhere, of another Python, or with an index that is none."""
    path = Path(bytecode.bundle_path(str(package)))
    whole = path.read_bytes()
    n = bytecode.N_HEADER
    damaged = [whole[:length] for length in (0, 5, n - 1, n, n + 9, len(whole) - 1)]
    damaged += [
        whole + b"x",
        b"\0" * len(whole),
        whole[:8] + b"\0\0\0\0" + whole[12:],
        whole[:n] + b"\xff" + whole[n + 1 :],
    ]
    for data in damaged:
        path.write_bytes(data)
        assert bytecode.open_bundle(str(package)) is None
    path.write_bytes(whole[:-1] + b"x")
    assert bytecode.open_bundle(str(package)) is not None


def test_a_module_whose_code_cannot_be_read_is_imported_as_ever(package: Path) -> None:
    path = Path(bytecode.bundle_path(str(package)))
    status = (package / "plain.py").stat()
    path.write_bytes(bytecode.encode({"multiprobe.plain": (b"", status.st_mtime_ns, status.st_size, False)}))
    assert run(package, TELL) == "1 SourceFileLoader 1"


def test_every_module_of_ours_is_in_it(tmp_path: Path) -> None:
    shutil.copytree(bytecode.PACKAGE, tmp_path / "multiprobe", ignore=shutil.ignore_patterns("__pycache__"))
    assert bytecode.write(str(tmp_path / "multiprobe"))
    names = "multiprobe.cli.count multiprobe.attach.attaching multiprobe.functions.kernel multiprobe.syscalls.bpf"
    loaders = f"{{type(sys.modules[name].__spec__.loader).__name__ for name in {names.split()}}}"
    tell = f"import {names.replace(' ', ', ')}; print({loaders})"
    assert run(tmp_path / "multiprobe", tell) == "{'_Loader'}"


def test_a_directory_that_cannot_be_written_to_is_said(tmp_path: Path) -> None:
    package = tmp_path / "multiprobe"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__pycache__").write_text("in the way")
    assert not bytecode.write(str(package))


def test_site_is_run_when_something_needs_it(package: Path) -> None:
    """Started with -S: what is installed in the environment can be imported, and only then `site` is."""
    rest = "print('site' in sys.modules); import click; print('site' in sys.modules, sys.prefix)"
    assert run(package, rest) == f"False\nTrue {sys.prefix}"


def test_what_is_nowhere_is_an_import_error(package: Path) -> None:
    rest = "\ntry: import no_such_module\nexcept ModuleNotFoundError as e: print(e.name)"
    assert run(package, rest) == "no_such_module"


def test_with_site_nothing_is_put_last(package: Path) -> None:
    code = REPORT.format(parent=str(package.parent), rest="print(type(sys.meta_path[-1]).__name__)")
    line = [sys.executable, "-c", code]
    assert subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip() != "LateSite"

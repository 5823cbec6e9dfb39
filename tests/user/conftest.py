"""Tests that attach to functions of programs: on this machine's kernel, and on those of guests.

They attach only to files that they compile themselves. Without the rights to attach, or a compiler, they skip.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import multiprobe as mp
from compiled import PROGRAMS, compiled_program
from multiprobe.kernel.features import Features
from places import IS_GUEST

Run = Callable[..., int]

if IS_GUEST:
    from in_guests import nothing_is_left_behind, the_kernel_does_not_complain, what_was_tested  # noqa: F401


def _compile(source: str, path: Path, *flags: str) -> Path:
    return compiled_program(PROGRAMS / source, path, "-O2", "-g0", "-w", *flags)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache is the tests' own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MULTIPROBE_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the compiled program and library."""
    answer = Features().probe("uprobe_multi")
    if not answer.is_yes:
        pytest.skip(f"this kernel has no uprobe_multi, for this user: {answer.evidence}")
    folder = tmp_path_factory.mktemp("programs")
    _compile("calls.c", folder / "calls", "-fno-inline")
    _compile("library.c", folder / "library.so", "-shared", "-fPIC")
    return folder


@pytest.fixture
def compiled(built: Path) -> Callable[..., Path]:
    """Compiles a program of ours, or a source by its path."""
    return _compile


@pytest.fixture
def throws(built: Path, tmp_path: Path) -> Path:
    """A program in C++ that throws exceptions."""
    return compiled_program(PROGRAMS / "throws.cpp", tmp_path / "throws", "-O1", "-fno-inline")


@pytest.fixture
def overloads(built: Path, tmp_path: Path) -> Path:
    """A program in C++ with overloads, and with frame pointers."""
    pytest.importorskip("pycxxfilt", reason="the extra `demangle` is not installed")
    flags = ("-O1", "-fno-inline", "-fno-exceptions", "-fno-omit-frame-pointer", "-mno-omit-leaf-frame-pointer")
    return compiled_program(PROGRAMS / "overloads.cpp", tmp_path / "overloads", *flags)


@pytest.fixture
def framed(built: Path, tmp_path: Path) -> Path:
    """The program with frame pointers, by which the kernel finds the callers."""
    flags = ("-fno-omit-frame-pointer", "-mno-omit-leaf-frame-pointer", "-fno-optimize-sibling-calls")
    return _compile("calls.c", tmp_path / "framed", "-fno-inline", *flags)


@pytest.fixture
def described(built: Path, tmp_path: Path) -> Path:
    """The program with its source lines (DWARF)."""
    return _compile("calls.c", tmp_path / "described", "-fno-inline", "-g")


@pytest.fixture
def sessions(built: Path) -> None:
    """For tests that need sessions."""
    if Features().probe("uprobe_session").is_no:
        pytest.skip("this kernel has no uprobe sessions")


@pytest.fixture
def guest() -> None:
    """For tests that attach to the kernel, too."""
    if not IS_GUEST:
        pytest.skip("this test attaches to the kernel, too: in guests only")


@pytest.fixture
def program(built: Path, tmp_path: Path) -> Path:
    """A copy of the program for one test."""
    return Path(shutil.copy(built / "calls", tmp_path / "calls"))


@pytest.fixture
def binary(program: Path) -> mp.Binary:
    """Its functions."""
    return mp.Binary(program)


@pytest.fixture
def run(program: Path) -> Run:
    """Runs the program; answers its exit status."""

    def run(mode: str, n: int = 1, *more: str) -> int:
        return subprocess.run([program, mode, str(n), *more], check=False).returncode

    return run

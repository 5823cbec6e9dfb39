"""A binary with a function of each kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from elf_writer import FUNC, GLOBAL, IFUNC, LOCAL, OBJECT, WEAK, Made, make_elf

from multiprobe.binaries import debug_files
from multiprobe.binaries.binary import Binary

SYMBOLS = [
    Made("work", 0),
    Made("__work", 0, LOCAL | FUNC),
    Made("work_alias", 0, WEAK | FUNC),
    Made("work_more", 1),
    Made("helper", 2, LOCAL | FUNC),
    Made("helper", 3, LOCAL | FUNC),
    Made("memcpy", 4, GLOBAL | IFUNC),
    Made("elsewhere", 0, GLOBAL | FUNC, value=0x999000),
    Made("stub", 5),
    Made("table", 6, GLOBAL | OBJECT),
    Made("versioned@@V_2", 7),
]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(data: bytes, name: str = "program") -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


@pytest.fixture
def binary(write: Callable[..., Path]) -> Binary:
    imported = [Made("malloc", None), Made("free", None, value=0x400050)]
    return Binary(write(make_elf(SYMBOLS, imported, plt=5)))


@pytest.fixture
def debug_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "debug"
    monkeypatch.setattr(debug_files, "DEBUG_ROOT", str(root))
    return root

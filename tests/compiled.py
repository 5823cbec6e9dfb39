"""Programs that tests compile, kept by what they are made of.

An emulated processor compiles twenty times slower: guests take what the same tests on this machine have compiled.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "user" / "programs"
KEPT = Path(__file__).parents[1] / "build" / "test-programs"


def compiled_program(source: Path, path: Path, *flags: str) -> Path:
    """`path`, where `source` is compiled to; the test is skipped where there is no compiler for its language."""
    compiler = "g++" if source.suffix == ".cpp" else "gcc"
    where = shutil.which(compiler)
    if where is None:
        pytest.skip(f"no compiler here: the test needs {compiler}")
    kept = KEPT / _digest(where, source, flags)
    if not kept.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        new = kept.with_name(f"{kept.name}.{os.getpid()}")
        libraries = ["-lpthread", "-ldl"]
        subprocess.run([where, *flags, f"-I{PROGRAMS}", "-o", str(new), str(source), *libraries], check=True)
        new.replace(kept)
    return Path(shutil.copy(kept, path))


def _digest(compiler: str, source: Path, flags: tuple[str, ...]) -> str:
    """A name for all that decides what a program is; its lines tell where a source of ours is, not where others are."""
    content = hashlib.sha256(repr((compiler, os.stat(compiler).st_mtime_ns, flags, source.parent == PROGRAMS)).encode())
    for part in (source, *sorted(PROGRAMS.glob("*.h"))):
        content.update(part.read_bytes())
    return f"{source.stem}-{content.hexdigest()[:16]}"

"""Processes that read DWARF by pyelftools, an optional library, with limits of memory and time.

pyelftools does not bound what it does for damaged files. Such a process is a module of ours, run as a program: it is
given descriptors and its limits, reads from standard input what is asked for, and answers on standard output.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from multiprobe.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multiprobe.binaries.file import BinaryFile

HINT = "pip install 'multiprobe[dwarf]'"


def has_pyelftools() -> bool:
    """Whether pyelftools is installed."""
    return find_spec("elftools") is not None


def ask(
    module: str, file: BinaryFile, asked: bytes, *, max_memory: int, max_seconds: int, others: Sequence[int] = ()
) -> bytes:
    """What the module answers of a file: it is run with the file's descriptor, `others` (-1: none), and the limits.

    max_memory: bytes; max_seconds: processor time
    Raises DataError for a file that is damaged, or takes too long.
    """
    descriptors = [file.fileno(), *others]
    child = subprocess.run(
        [sys.executable, "-P", "-m", module, *map(str, [*descriptors, max_memory, max_seconds])],
        input=asked,
        capture_output=True,
        pass_fds=[fd for fd in descriptors if fd >= 0],
        check=False,
    )
    if child.returncode < 0:
        raise DataError(f"{file.path}: its DWARF takes longer than {max_seconds} seconds to read")
    if child.returncode:
        why = child.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        why = "pyelftools does not understand it" if why == "AssertionError" else why
        raise DataError(f"{file.path}: its DWARF can't be read: {why[:200]}")
    return child.stdout


def limit(max_memory: int, max_seconds: int) -> None:
    """Limit this process, which `ask` has started."""
    resource.setrlimit(resource.RLIMIT_AS, (max_memory, max_memory))
    resource.setrlimit(resource.RLIMIT_CPU, (max_seconds, max_seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

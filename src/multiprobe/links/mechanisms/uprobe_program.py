"""What every link on a binary needs: the kind of its programs, and the file as it was read."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from multiprobe.binaries.file import BinaryFile
from multiprobe.binaries.mixed import binary_parts
from multiprobe.errors import DataError
from multiprobe.uapi.bpf import AttachType, ProgType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.binaries.sets import UserFunctionSet

PROG_TYPE = ProgType.KPROBE


def attach_type(when: str) -> int:
    """The expected attach type of a program that runs `when`."""
    return AttachType.TRACE_UPROBE_SESSION if when == "session" else AttachType.TRACE_UPROBE_MULTI


@contextmanager
def open_unchanged(functions: UserFunctionSet) -> Iterator[BinaryFile]:
    """The file of the functions, open. Raises DataError if it is not the one that was read."""
    path = functions.table.path
    with BinaryFile(path) as file:
        if file.key != functions.table.key:
            raise DataError(f"{path} was replaced or changed since it was read", hint="make another mp.Binary")
        yield file


def replaced_files(functions: AnyFunctionSet) -> list[str]:
    """A sentence for each file of the functions that is not at its path any more, or is another one.

    Links stay on the file that they were made for. Paths of processes (/proc/PID/exe) end with these, and don't count.
    """
    found: list[str] = []
    for path, key in {part.table.path: part.table.key for _, part in binary_parts(functions)}.items():
        if path.startswith("/proc/"):
            continue
        try:
            now = os.stat(path)
        except FileNotFoundError:
            found.append(f"{path} was deleted while it was measured: processes that had it were, until they ended")
        except OSError:
            continue
        else:
            if (now.st_dev, now.st_ino) != key[:2]:
                found.append(f"{path} was replaced while it was measured: processes that run the new file were not")
    return found

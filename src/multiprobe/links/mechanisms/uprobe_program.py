"""What every link on a binary needs: the kind of its programs, and the file as it was read."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from multiprobe.binaries.file import BinaryFile
from multiprobe.errors import DataError
from multiprobe.uapi.bpf import AttachType, ProgType

if TYPE_CHECKING:
    from collections.abc import Iterator

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

"""Opens a program or library, and reads pieces of it; refuses files that have no functions to attach to.

Each thing that can be wrong with a file has a sentence of its own here.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from multiprobe import elf
from multiprobe.errors import DataError, KernelError, NoMatchError, NotPermittedError, UsageError

if TYPE_CHECKING:
    from typing import Self

MAX_READ = 1 << 28
"""The most bytes read as one piece: a table of a hostile file claims more."""
MACHINES = {"x86_64": elf.EM_X86_64, "aarch64": elf.EM_AARCH64}
_HEADER_SIZE = 64
_CLASS_32, _BIG_ENDIAN = 1, 2
_KINDS = {
    elf.ET_REL: "is an object file, which is not linked yet: name the program or library made of it",
    elf.ET_CORE: "is a core dump: name the program that dumped it",
}


class BinaryFile:
    """An open regular file, whose slices are read when they are asked for. Must be closed; a context manager.

    path: as it was opened; key: (device, inode, size, time of change in ns), by which two openings are compared
    Raises NoMatchError, NotPermittedError, KernelError or DataError if it can't be opened.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = _open(path)
        found = os.fstat(self._fd)
        if not stat.S_ISREG(found.st_mode):
            self.close()
            raise DataError(f"{path} is not a regular file")
        self.key = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)

    def __len__(self) -> int:
        return self.key[2]

    def __getitem__(self, part: slice, /) -> bytes:
        """The bytes of a slice. Raises DataError if it is too large, or the file has become shorter."""
        start, stop, _ = part.indices(len(self))
        size = max(0, stop - start)
        if size > MAX_READ:
            raise DataError(f"{self.path} has a table of {size:,} bytes: more than {MAX_READ:,} are not read")
        found = os.pread(self._fd, size, start)
        if len(found) < size:
            raise DataError(f"{self.path} was changed while it was read")
        return found

    def fileno(self) -> int:
        """The descriptor, which stays the file's."""
        return self._fd

    def close(self) -> None:
        """Close the file; again is nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NoMatchError(f"there is no file {path}") from error
    except PermissionError as error:
        raise NotPermittedError(f"no right to read {path}") from error
    except OSError as error:
        raise KernelError("opening", error.errno or 0, subject=path) from error
    except ValueError as error:
        raise UsageError(f"invalid path {path!r}: it has a NUL") from error


def check_kind(file: BinaryFile, machine: str) -> None:
    """Raise DataError, with the reason, unless the file is a program or library for `machine` (as in os.uname())."""
    reason = _why_no_binary(file[:_HEADER_SIZE], machine)
    if reason:
        raise DataError(f"{file.path} {reason}")


def _why_no_binary(head: bytes, machine: str) -> str:
    if not head:
        return "is empty"
    if head.startswith(b"#!"):
        words = head[2:].split(b"\n")[0].split()
        run_by = os.fsdecode(words[0]) if words else "nothing"
        return f"is a script, run by {run_by}: name that program, or the library whose functions you mean"
    if not head.startswith(b"\x7fELF"):
        return "is not an ELF file"
    if len(head) < _HEADER_SIZE:
        return f"is cut off at byte {len(head)}: the header of an ELF file has {_HEADER_SIZE}"
    if head[4] == _CLASS_32:
        return "is a 32-bit program: multiprobe reads 64-bit ones"
    if head[5] == _BIG_ENDIAN:
        return "is for a big-endian machine"
    return _why_not_of(*elf.kind_and_machine(head), machine)


def _why_not_of(kind: int, number: int, machine: str) -> str:
    if number != MACHINES.get(machine):
        names = {known: name for name, known in MACHINES.items()}
        return f"is for another architecture ({names.get(number, f'ELF machine {number}')}), not for {machine}"
    if kind in (elf.ET_EXEC, elf.ET_DYN):
        return ""
    return _KINDS.get(kind, f"is neither a program nor a library (ELF type {kind})")

"""Every error that multiprobe raises, and the exit status that the command ends with for each.

    MultiprobeError                    1
    ├── UsageError (ValueError)        2   an invalid argument
    │   ├── PatternError               2   an invalid function pattern
    │   └── CompileError               2   a program that can't be compiled: file, line, caret
    ├── NoMatchError (LookupError)     3   nothing matched
    ├── NotPermittedError (PermissionError)  4   the kernel or the machine forbids it
    ├── NotSupportedError              5   this kernel lacks it
    ├── DataError (ValueError)         1   a file or a kernel answer that can't be decoded
    ├── KernelError (OSError)          1   a system call failed: what, on which object, errno
    │   └── VerifierError              1   the kernel's verifier refused a program
    ├── AttachError                    1   functions that could not be attached, each with its reason
    ├── IncompleteError                1   results with known gaps, where complete ones were required
    └── VmError                        1   the virtual machine could not be set up
        └── VmLostError                1   … or died under the command

A message says what was tried, on which object, and what the kernel answered; `hint` says what to do
about it. This module imports nothing of multiprobe.
"""

from __future__ import annotations

import errno as _errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

RESOURCES = {
    _errno.ENOMEM: "make maps smaller, or raise the limit of memory of the cgroup (memory.max)",
    _errno.EMFILE: "raise the limit of file descriptors with `ulimit -n` (beyond the hard limit as root)",
    _errno.ENFILE: "as root: raise fs.file-max, the machine's limit of open files",
}
"""What to do where a resource is short, by errno."""


class MultiprobeError(Exception):
    """Base of all errors raised on purpose. `hint` is one sentence of advice, or ""."""

    exit_status = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class UsageError(MultiprobeError, ValueError):
    """An argument that is invalid on every kernel."""

    exit_status = 2


class PatternError(UsageError):
    """An invalid function pattern: `pattern`."""

    def __init__(self, message: str, *, pattern: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.pattern = pattern


class CompileError(UsageError):
    """A program that can't be compiled, with its location in the Python source.

    `line` counts from 1, `column` and `end_column` from 0 (as in `ast`); `source` is the text of that line.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str = "",
        line: int = 0,
        column: int = 0,
        end_column: int | None = None,
        source: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.file = file
        self.line = line
        self.column = column
        self.end_column = end_column
        self.source = source

    def __str__(self) -> str:
        if not self.file:
            return self.message
        text = self.source.rstrip("\n")
        stripped = text.lstrip()
        indent = len(text) - len(stripped)
        width = max(1, (self.end_column or self.column + 1) - self.column)
        caret = " " * max(0, self.column - indent) + "^" * min(width, max(1, len(text) - self.column))
        return f"{self.file}:{self.line}: {self.message}\n    {stripped}\n    {caret}"


class NoMatchError(MultiprobeError, LookupError):
    """No function was named by what the user asked for."""

    exit_status = 3


class NotPermittedError(MultiprobeError, PermissionError):
    """The user, a security module or the machine's configuration forbids it."""

    exit_status = 4


class NotSupportedError(MultiprobeError):
    """This kernel was built without what is needed."""

    exit_status = 5


class DataError(MultiprobeError, ValueError):
    """A file or an answer of the kernel that can't be decoded; says where."""


class KernelError(MultiprobeError, OSError):
    """A system call failed. `errno` is the kernel's, `operation` what was tried, `subject` on what."""

    errno: int  # OSError's may be None, ours never is

    def __init__(self, operation: str, number: int, *, subject: str = "", hint: str = "") -> None:
        name = errno_name(number)
        message = f"{operation}{f' ({subject})' if subject else ''}: {name}"
        super().__init__(message, hint=hint or RESOURCES.get(number, ""))
        self.operation = operation
        self.subject = subject
        self.errno = number
        self.errno_name = name


@contextmanager
def telling_shortage(operation: str) -> Iterator[None]:
    """Raise an OSError of this block that is about a resource (a file can't be opened: EMFILE) as a KernelError."""
    try:
        yield
    except OSError as error:
        if isinstance(error, MultiprobeError) or error.errno not in RESOURCES:
            raise
        raise KernelError(operation, error.errno, subject=os.fsdecode(error.filename or "")) from error


class VerifierError(KernelError):
    """The verifier refused a program: `cause` is its last word, `log` all of them."""

    def __init__(self, operation: str, number: int, *, subject: str = "", cause: str, log: str, hint: str = "") -> None:
        super().__init__(operation, number, subject=subject, hint=hint)
        self.message = f"the kernel's verifier refused {subject or 'the program'}: {cause}"
        self.cause = cause
        self.log = log


class AttachError(MultiprobeError):
    """Functions that could not be attached where every one was demanded; `report` tells each one's fate."""

    def __init__(self, message: str, *, report: object = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.report = report


class IncompleteError(MultiprobeError):
    """Something is known to be missing from the results, and completeness was demanded; `report` tells what."""

    def __init__(self, message: str, *, report: object = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.report = report


class VmError(MultiprobeError):
    """The virtual machine could not be set up or started."""


class VmLostError(VmError):
    """The guest died or hung; `console` is the end of what it printed."""

    def __init__(self, message: str, *, console: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.console = console


#: Errnos that user space isn't meant to see (include/linux/errno.h); probes do, as return values.
KERNEL_ERRNOS = {
    512: "ERESTARTSYS",
    513: "ERESTARTNOINTR",
    514: "ERESTARTNOHAND",
    515: "ENOIOCTLCMD",
    516: "ERESTART_RESTARTBLOCK",
    517: "EPROBE_DEFER",
    518: "EOPENSTALE",
    519: "ENOPARAM",
    521: "EBADHANDLE",
    522: "ENOTSYNC",
    523: "EBADCOOKIE",
    524: "ENOTSUPP",
    525: "ETOOSMALL",
    526: "ESERVERFAULT",
    527: "EBADTYPE",
    528: "EJUKEBOX",
    529: "EIOCBQUEUED",
    530: "ERECALLCONFLICT",
    531: "ENOGRACE",
}


def errno_name(number: int) -> str:
    """The kernel's name of an errno, those included that stay inside the kernel (ENOTSUPP, ERESTARTSYS, …)."""
    if number in KERNEL_ERRNOS:
        return KERNEL_ERRNOS[number]
    if number == _errno.EOPNOTSUPP:
        return "EOPNOTSUPP"  # which Python calls by its alias
    return _errno.errorcode.get(number, f"errno {number}")


def errno_number(name: str) -> int:
    """The errno of a name that `errno_name` gives; 0 for any other text."""
    if name.startswith("errno ") and name[6:].isdecimal():
        return int(name[6:16])
    stays = {known: number for number, known in KERNEL_ERRNOS.items()}
    found = stays.get(name) or getattr(_errno, name, 0)
    return found if isinstance(found, int) else 0

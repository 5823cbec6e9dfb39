"""Functions that exist in programs only: their names, to be imported and recognised.

Must not know the compiler: calling one from Python is an error that says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.errors import UsageError

if TYPE_CHECKING:
    from typing import Any


def kernel_string(address: Any) -> Any:
    """The string at an address of the kernel's memory, up to its NUL: in programs only."""
    raise UsageError("mp.kernel_string is for programs", hint="use it in a function decorated with @mp.program")


def kernel_bytes(address: Any) -> Any:
    """The memory at an address of the kernel's, for a field of type mp.bytes_(size): in programs only."""
    raise UsageError("mp.kernel_bytes is for programs", hint="use it in a function decorated with @mp.program")


def user_string(address: Any) -> Any:
    """The string at an address of the current process's memory, up to its NUL: in programs only.

    Memory that isn't present can't be read (a program must not wait): it reads as "" and is counted in failed_reads.
    """
    raise UsageError("mp.user_string is for programs", hint="use it in a function decorated with @mp.program")

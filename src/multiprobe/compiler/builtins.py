"""Functions that exist in programs only: their names, to be imported and recognised.

Must not know the compiler: calling one from Python is an error that says so.
"""

from __future__ import annotations

from multiprobe.errors import UsageError


def kernel_string(address: int, size: int | None = None) -> str:
    """In a program: the string at an address in kernel memory, up to its NUL. In Python it raises UsageError.

    With `size`, the string has at most so many bytes, and no byte after them is read: it may lack a NUL.

    Memory that can't be read gives "" and is counted in failed_reads.
    """
    raise UsageError("mp.kernel_string is for programs", hint="use it in a function decorated with @mp.program")


def kernel_bytes(address: int, size: int | None = None) -> bytes:
    """In a program: the memory at a kernel address, for a field of type mp.bytes_(size).

    With `size`, at most so many bytes are read; the rest is zeros. In Python it raises UsageError. Memory that can't be
    read gives zeros and is counted in failed_reads.
    """
    raise UsageError("mp.kernel_bytes is for programs", hint="use it in a function decorated with @mp.program")


def user_bytes(address: int, size: int | None = None) -> bytes:
    """In a program: the memory at an address in the current process, for a field of type mp.bytes_(size).

    With `size`, at most so many bytes are read; the rest is zeros. In Python it raises UsageError. Memory that can't be
    read, as what is paged out in programs that aren't sleepable, gives zeros and is counted in failed_reads.
    """
    raise UsageError("mp.user_bytes is for programs", hint="use it in a function decorated with @mp.program")


def user_string(address: int, size: int | None = None) -> str:
    """In a program: the string at an address in the current process, up to its NUL. In Python it raises UsageError.

    With `size`, the string has at most so many bytes, and no byte after them is read: it may lack a NUL.

    Pages that aren't in memory can't be read (a program must not sleep): that gives "" and is counted in failed_reads.
    """
    raise UsageError("mp.user_string is for programs", hint="use it in a function decorated with @mp.program")

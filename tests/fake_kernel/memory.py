"""The memory of the process that makes a system call, as the kernel reaches it: by address, with EFAULT."""

from __future__ import annotations

import errno
import os
from ctypes import memmove, string_at
from struct import unpack, unpack_from

_FIRST_PAGE = 4096


class Refused(Exception):  # noqa: N818  (an answer, not an error)
    """The kernel answers `-number`."""

    def __init__(self, number: int) -> None:
        super().__init__(errno.errorcode.get(number, number))
        self.number = number


def refuse_if(condition: object, number: int) -> None:
    """Answer an errno if something doesn't hold."""
    if condition:
        raise Refused(number)


def read(address: int, size: int) -> bytes:
    """copy_from_user"""
    refuse_if(size and not 0 <= address - _FIRST_PAGE < 1 << 47, errno.EFAULT)
    return string_at(address, size) if size else b""


def write(address: int, data: bytes) -> None:
    """copy_to_user"""
    refuse_if(data and not 0 <= address - _FIRST_PAGE < 1 << 47, errno.EFAULT)
    memmove(address, data, len(data))


def text(address: int, size: int = 256) -> str:
    """strncpy_from_user"""
    refuse_if(not 0 <= address - _FIRST_PAGE < 1 << 47, errno.EFAULT)
    found = string_at(address)
    refuse_if(len(found) >= size, errno.ENAMETOOLONG)
    return os.fsdecode(found)


def numbers(address: int, count: int, letter: str) -> list[int]:
    """An array of `count` integers of that `struct` letter."""
    size = {"I": 4, "Q": 8}[letter]
    return list(unpack(f"<{count}{letter}", read(address, size * count)))


class Attr:
    """union bpf_attr: what the caller gave, zeros behind it; `put` answers in the caller's memory."""

    def __init__(self, address: int, size: int, data: bytes | None = None) -> None:
        self._address = address
        self._size = size
        self._data = (read(address, size) if data is None else data).ljust(192, b"\0")

    @classmethod
    def of(cls, data: bytes) -> Attr:
        """One that no caller gave."""
        return cls(0, 0, data)

    def u32(self, offset: int) -> int:
        number: int = unpack_from("<I", self._data, offset)[0]
        return number

    def u64(self, offset: int) -> int:
        number: int = unpack_from("<Q", self._data, offset)[0]
        return number

    def raw(self, offset: int, size: int) -> bytes:
        return self._data[offset : offset + size]

    def put(self, offset: int, number: int, size: int = 4) -> None:
        if offset + size <= self._size:
            write(self._address + offset, number.to_bytes(size, "little"))

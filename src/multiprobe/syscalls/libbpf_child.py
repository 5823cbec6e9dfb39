"""Opens and loads an object file with libbpf: a process of its own, run as a script by a bare interpreter, because
libbpf crashes on some damaged files. Imports nothing of multiprobe.

    libbpf_child.py LIBRARY SOCKET NAME

The file comes from standard input. Over SOCKET, one message of JSON each: to the parent, what is in the file; from it,
how to load it; to it, what was loaded, followed by the descriptors of maps and programs, in order. A message with
"error" instead has the errno, and libbpf's warnings in "said".
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

FDS_PER_MESSAGE = 100  # the kernel takes 253 (SCM_MAX_FD)
_INSN_SIZE = 8
_POINTER, _TEXT, _INT, _U32, _BOOL = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint32, ctypes.c_bool
_PRINT = ctypes.CFUNCTYPE(_INT, _INT, _TEXT, _POINTER)
PROTOTYPES = {
    "libbpf_set_print": (_POINTER, _PRINT),
    "bpf_object__open_mem": (_POINTER, _POINTER, ctypes.c_size_t, _POINTER),
    "bpf_object__load": (_INT, _POINTER),
    "bpf_object__btf": (_POINTER, _POINTER),
    "btf__raw_data": (_POINTER, _POINTER, _POINTER),
    "bpf_object__next_program": (_POINTER, _POINTER, _POINTER),
    "bpf_object__next_map": (_POINTER, _POINTER, _POINTER),
    "bpf_program__name": (_TEXT, _POINTER),
    "bpf_program__section_name": (_TEXT, _POINTER),
    "bpf_program__type": (_INT, _POINTER),
    "bpf_program__set_type": (_INT, _POINTER, _INT),
    "bpf_program__expected_attach_type": (_INT, _POINTER),
    "bpf_program__set_expected_attach_type": (_INT, _POINTER, _INT),
    "bpf_program__set_attach_target": (_INT, _POINTER, _INT, _TEXT),
    "bpf_program__set_autoload": (_INT, _POINTER, _BOOL),
    "bpf_program__autoload": (_BOOL, _POINTER),
    "bpf_program__fd": (_INT, _POINTER),
    "bpf_program__insns": (_POINTER, _POINTER),
    "bpf_program__insn_cnt": (ctypes.c_size_t, _POINTER),
    "bpf_map__name": (_TEXT, _POINTER),
    "bpf_map__type": (_INT, _POINTER),
    "bpf_map__key_size": (_U32, _POINTER),
    "bpf_map__value_size": (_U32, _POINTER),
    "bpf_map__max_entries": (_U32, _POINTER),
    "bpf_map__is_internal": (_BOOL, _POINTER),
    "bpf_map__initial_value": (_POINTER, _POINTER, _POINTER),
    "bpf_map__fd": (_INT, _POINTER),
}


Row = list[object]
Message = dict[str, Any]


def open_library(soname: str) -> ctypes.CDLL:
    """The library, with the prototypes of what is used; OSError or AttributeError where it is missing or too old."""
    library = ctypes.CDLL(soname, use_errno=True)
    for name, (result, *arguments) in PROTOTYPES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class _OpenOptions(ctypes.Structure):
    """The head of struct bpf_object_open_opts; libbpf takes its size from the first field."""

    _fields_ = (("sz", ctypes.c_size_t), ("object_name", ctypes.c_char_p))


class FailedError(Exception):
    """libbpf refuses, with this errno."""


class ObjectFile:
    """An object in libbpf's hands. Nothing is freed: the process ends with it."""

    def __init__(self, library: ctypes.CDLL, data: bytes, name: str) -> None:
        self.library = library
        self._data = data  # libbpf refers to it
        options = _OpenOptions(ctypes.sizeof(_OpenOptions), name.encode(errors="replace"))
        ctypes.set_errno(0)
        self.handle = library.bpf_object__open_mem(data, len(data), ctypes.byref(options))
        if not self.handle:
            raise FailedError(ctypes.get_errno())
        self.programs = list(self._each("program"))

    def _each(self, kind: str) -> Iterator[int]:
        following = getattr(self.library, f"bpf_object__next_{kind}")
        found = following(self.handle, None)
        while found:
            yield found
            found = following(self.handle, found)

    def describe(self) -> dict[str, object]:
        """Programs, each with name, section, type, expected attach type, and whether libbpf would load it (not if its
        section begins with "?"); and the object's BTF in hexadecimal."""
        may_load = self.library.bpf_program__autoload
        programs = [[*self._head(program), may_load(program)] for program in self.programs]
        return {"programs": programs, "btf": self._btf().hex()}

    def _head(self, program: int) -> Row:
        library = self.library
        names = (library.bpf_program__name(program), library.bpf_program__section_name(program))
        numbers = (library.bpf_program__type(program), library.bpf_program__expected_attach_type(program))
        return [*(name.decode(errors="replace") for name in names), *numbers]

    def _btf(self) -> bytes:
        btf, size = self.library.bpf_object__btf(self.handle), _U32()
        data = self.library.btf__raw_data(btf, ctypes.byref(size)) if btf else None
        return ctypes.string_at(data, size.value) if data else b""

    def choose(self, wishes: list[Row | None]) -> None:
        """How to load each program: [whether, type, expected attach type, target or None], or None for libbpf's way."""
        library = self.library
        for program, wish in zip(self.programs, wishes, strict=True):
            if wish is None:
                continue
            is_wanted, kind, attach_type, target = wish
            library.bpf_program__set_type(program, kind)
            library.bpf_program__set_expected_attach_type(program, attach_type)
            if target is not None:
                library.bpf_program__set_attach_target(program, 0, str(target).encode())
            library.bpf_program__set_autoload(program, is_wanted)

    def initialize(self, section: str, offset: int, data: bytes) -> None:
        """Set the first value of a variable. FailedError if the section's map has no such bytes."""
        for found in self._each("map"):
            if self.library.bpf_map__is_internal(found) and self._map_name(found).endswith(section):
                size = ctypes.c_size_t()
                memory = self.library.bpf_map__initial_value(found, ctypes.byref(size))
                if memory and offset >= 0 and offset + len(data) <= size.value:
                    ctypes.memmove(memory + offset, data, len(data))
                    return
        raise FailedError(errno.ENOENT)

    def load(self) -> None:
        """Load it into the kernel."""
        ctypes.set_errno(0)
        if self.library.bpf_object__load(self.handle) != 0:
            raise FailedError(ctypes.get_errno())

    def _map_name(self, found: int) -> str:
        name: bytes = self.library.bpf_map__name(found)
        return name.decode(errors="replace")

    def loaded(self) -> tuple[dict[str, object], list[int]]:
        """What was loaded, and the descriptors: of maps, then of programs."""
        maps = [row for row in map(self._map, self._each("map")) if row[-1] >= 0]  # type: ignore[operator]
        programs, fds = [], [row[-1] for row in maps]
        for program in self.programs:
            is_there = self.library.bpf_program__autoload(program) and self.library.bpf_program__fd(program) >= 0
            programs.append([*self._head(program), self._insns(program) if is_there else None])
            fds += [self.library.bpf_program__fd(program)] if is_there else []
        return {"maps": maps, "programs": programs}, fds  # type: ignore[return-value]

    def _map(self, found: int) -> Row:
        numbers = ("type", "key_size", "value_size", "max_entries", "is_internal", "fd")
        return [self._map_name(found), *(getattr(self.library, f"bpf_map__{name}")(found) for name in numbers)]

    def _insns(self, program: int) -> str:
        size = self.library.bpf_program__insn_cnt(program) * _INSN_SIZE
        return ctypes.string_at(self.library.bpf_program__insns(program), size).hex()


def collector(said: list[str]) -> Callable[[int, bytes, int], int]:
    """libbpf's printer: keeps warnings, formatted by libc, to which its argument list is opaque."""
    libc = ctypes.CDLL(None)

    def collect(level: int, form: bytes, arguments: int) -> int:
        if level == 0:  # LIBBPF_WARN
            buffer = ctypes.create_string_buffer(1 << 18)
            libc.vsnprintf(buffer, ctypes.c_size_t(len(buffer)), ctypes.c_char_p(form), ctypes.c_void_p(arguments))
            said.append(buffer.value.decode(errors="replace"))
        return 0

    return collect


def send(channel: socket.socket, message: dict[str, object]) -> None:
    """Send one message: its length, and JSON."""
    data = json.dumps(message).encode()
    channel.sendall(len(data).to_bytes(8, "little") + data)


def receive(channel: socket.socket) -> Message | None:
    """One message, or None at the end."""
    head = channel.recv(8, socket.MSG_WAITALL)
    n = int.from_bytes(head, "little")
    data = channel.recv(n, socket.MSG_WAITALL) if len(head) == 8 else b""
    if len(head) < 8 or len(data) < n:
        return None
    found: Message = json.loads(data)
    return found


def serve(library: ctypes.CDLL, channel: socket.socket, data: bytes, name: str) -> None:
    """Answer one parent."""
    said: list[str] = []
    printer = _PRINT(collector(said))
    library.libbpf_set_print(printer)
    try:
        found = ObjectFile(library, data, name)
        send(channel, found.describe())
        asked = receive(channel)
        if asked is None:  # the parent wants no more of it
            return
        found.choose(asked["wishes"])
        for section, offset, content in asked["initial"]:
            found.initialize(section, offset, bytes.fromhex(content))
        found.load()
        message, fds = found.loaded()
    except FailedError as error:
        send(channel, {"error": error.args[0], "said": said})
        return
    send(channel, message)
    for at in range(0, len(fds), FDS_PER_MESSAGE):
        socket.send_fds(channel, [b"f"], fds[at : at + FDS_PER_MESSAGE])


def main() -> None:
    """Run as described above."""
    soname, fd, name = sys.argv[1:]
    with socket.socket(fileno=int(fd)) as channel:
        serve(open_library(soname), channel, sys.stdin.buffer.read(), name)
    os._exit(0)  # without whatever a damaged file made of libbpf's memory


if __name__ == "__main__":
    main()

"""Opens and loads BPF object files with libbpf's C API.

The system's library (Debian: libbpf1) is loaded at the first use. Programs and maps are returned as values and file
descriptors that the caller owns; libbpf's object is closed before `load` returns.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.errors import DataError, KernelError, NotPermittedError, NotSupportedError, VerifierError
from multiprobe.syscalls.bpf import cause_of
from multiprobe.syscalls.bpf import error as bpf_error
from multiprobe.syscalls.fd import FileDescriptor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

SONAME = "libbpf.so.1"
_LOG_BEGIN, _LOG_END = "-- BEGIN PROG LOAD LOG --", "-- END PROG LOAD LOG --"
_INSN_SIZE = 8
_LD_IMM64, _PSEUDO_MAP_FD, _PSEUDO_MAP_VALUE = 0x18, 1, 2

_POINTER, _TEXT, _INT, _U32, _BOOL = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint32, ctypes.c_bool
_PRINT = ctypes.CFUNCTYPE(_INT, _INT, _TEXT, _POINTER)
_PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "libbpf_set_print": (_POINTER, _PRINT),
    "bpf_object__open_mem": (_POINTER, _POINTER, ctypes.c_size_t, _POINTER),
    "bpf_object__load": (_INT, _POINTER),
    "bpf_object__close": (None, _POINTER),
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
    "bpf_program__fd": (_INT, _POINTER),
    "bpf_program__insns": (_POINTER, _POINTER),
    "bpf_program__insn_cnt": (ctypes.c_size_t, _POINTER),
    "bpf_map__name": (_TEXT, _POINTER),
    "bpf_map__type": (_INT, _POINTER),
    "bpf_map__key_size": (_U32, _POINTER),
    "bpf_map__value_size": (_U32, _POINTER),
    "bpf_map__max_entries": (_U32, _POINTER),
    "bpf_map__fd": (_INT, _POINTER),
}


@dataclass(frozen=True, slots=True)
class Wish:
    """How a program is to be loaded: `is_wanted` at all, its type and expected attach type, and the function that it
    is loaded for (trampolines only; None: as its section says, or none)."""

    is_wanted: bool
    kind: int
    expected_attach_type: int
    target: str | None = None


@dataclass(frozen=True, slots=True)
class LoadedProgram:
    """A program of an object: `insns` are the instructions with everything resolved, `fd` the kernel's instance (None:
    not loaded)."""

    name: str
    section: str
    kind: int
    expected_attach_type: int
    insns: bytes
    fd: FileDescriptor | None


@dataclass(frozen=True, slots=True)
class LoadedMap:
    """A map of an object."""

    name: str
    kind: int
    key_size: int
    value_size: int
    max_entries: int
    fd: FileDescriptor


#: Opens what it reads from stdin, as `_open` does, in a process of its own.
OPENING = """
import ctypes, sys
library, data = ctypes.CDLL(sys.argv[1]), sys.stdin.buffer.read()
library.libbpf_set_print(None)
library.bpf_object__open_mem.restype = ctypes.c_void_p
library.bpf_object__open_mem.argtypes = ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p
handle = library.bpf_object__open_mem(data, len(data), None)
if handle:
    library.bpf_object__close(ctypes.c_void_p(handle))
"""


class _OpenOptions(ctypes.Structure):
    """The head of struct bpf_object_open_opts; libbpf takes its size from the first field."""

    _fields_ = (("sz", ctypes.c_size_t), ("object_name", ctypes.c_char_p))


def open_library() -> ctypes.CDLL:
    """The library. Raises NotSupportedError when the system has none."""
    try:
        library = ctypes.CDLL(SONAME, use_errno=True)
        for name, (result, *arguments) in _PROTOTYPES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise NotSupportedError(
            f"{SONAME} is missing, by which object files are loaded ({error})",
            hint="install it: apt-get install libbpf1",
        ) from error
    return library


def load(
    data: bytes, name: str, choose: Callable[[str, str, int, int], Wish | None]
) -> tuple[list[LoadedProgram], list[LoadedMap]]:
    """Load an object file's programs and maps. The caller owns all descriptors in the answer.

    name: what the object is called in messages, and in the names of its maps of variables
    choose: for a program's (name, section, type, expected attach type): how to load it, or None for libbpf's own way

    Raises DataError (not an object that libbpf reads), NotSupportedError (no library), NotPermittedError,
    VerifierError and KernelError.
    """
    library = open_library()
    _require_openable(data, name)
    said: list[str] = []
    printer = _PRINT(_collector(said))
    library.libbpf_set_print(printer)
    handle = None
    try:
        handle = _open(library, data, name, said)
        programs = [_choose(library, program, choose) for program in _each(library.bpf_object__next_program, handle)]
        ctypes.set_errno(0)
        if library.bpf_object__load(handle) != 0:
            raise _load_error(name, ctypes.get_errno(), said)
        return _taken(library, handle, programs)
    finally:
        if handle:
            library.bpf_object__close(handle)
        library.libbpf_set_print(_PRINT())
        del printer


def _require_openable(data: bytes, name: str) -> None:
    """Open the object in a child process first: libbpf 1.1 crashes on some damaged files. Raises DataError."""
    command = [sys.executable, "-I", "-S", "-c", OPENING, SONAME]
    done = subprocess.run(command, input=data, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    if done.returncode < 0:
        number = signal.Signals(-done.returncode).name
        raise DataError(f"{name} is damaged: opening it ended libbpf by {number}", hint="compile it anew")


def _collector(said: list[str]) -> Callable[[int, bytes, int], int]:
    """libbpf's printer: keeps warnings, formatted by libc, to which its argument list is opaque."""
    libc = ctypes.CDLL(None)

    def collect(level: int, form: bytes, arguments: int) -> int:
        if level == 0:  # LIBBPF_WARN
            buffer = ctypes.create_string_buffer(1 << 18)
            libc.vsnprintf(buffer, ctypes.c_size_t(len(buffer)), ctypes.c_char_p(form), ctypes.c_void_p(arguments))
            said.append(buffer.value.decode(errors="replace"))
        return 0

    return collect


def _open(library: ctypes.CDLL, data: bytes, name: str, said: list[str]) -> int:
    options = _OpenOptions(ctypes.sizeof(_OpenOptions), name.encode(errors="replace"))
    ctypes.set_errno(0)
    handle: int | None = library.bpf_object__open_mem(data, len(data), ctypes.byref(options))
    if not handle:
        why = _last(said) or os.strerror(ctypes.get_errno())
        raise DataError(f"{name} is not an object file that libbpf can read: {why}")
    return handle


def _each(following: Callable[[int, int | None], int | None], handle: int) -> Iterator[int]:
    found = following(handle, None)
    while found:
        yield found
        found = following(handle, found)


def _choose(
    library: ctypes.CDLL, program: int, choose: Callable[[str, str, int, int], Wish | None]
) -> tuple[int, bool]:
    """Tell libbpf how a program is to be loaded: (the program, whether it is)."""
    kind, attach_type = library.bpf_program__type(program), library.bpf_program__expected_attach_type(program)
    wish = choose(_name(library, program), _section(library, program), kind, attach_type)
    if wish is None:
        return program, True
    library.bpf_program__set_type(program, wish.kind)
    library.bpf_program__set_expected_attach_type(program, wish.expected_attach_type)
    if wish.target is not None:
        library.bpf_program__set_attach_target(program, 0, wish.target.encode())
    library.bpf_program__set_autoload(program, wish.is_wanted)
    return program, wish.is_wanted


def _name(library: ctypes.CDLL, program: int) -> str:
    name: bytes = library.bpf_program__name(program)
    return name.decode(errors="replace")


def _section(library: ctypes.CDLL, program: int) -> str:
    section: bytes = library.bpf_program__section_name(program)
    return section.decode(errors="replace")


def _taken(
    library: ctypes.CDLL, handle: int, programs: list[tuple[int, bool]]
) -> tuple[list[LoadedProgram], list[LoadedMap]]:
    """Values and descriptors of our own, which outlive libbpf's object."""
    maps: list[LoadedMap] = []
    taken: list[LoadedProgram] = []
    renamed: dict[int, int] = {}
    try:
        for found in _each(library.bpf_object__next_map, handle):
            number: int = library.bpf_map__fd(found)
            if number < 0:
                continue
            name = library.bpf_map__name(found).decode(errors="replace")
            maps.append(
                LoadedMap(
                    name,
                    library.bpf_map__type(found),
                    library.bpf_map__key_size(found),
                    library.bpf_map__value_size(found),
                    library.bpf_map__max_entries(found),
                    _duplicate(number, f"map {name}"),
                )
            )
            renamed[number] = maps[-1].fd.fileno()
        for program, is_loaded in programs:  # libbpf leaves out those of sections that begin with "?"
            is_there = is_loaded and library.bpf_program__fd(program) >= 0
            taken.append(_take(library, program, renamed) if is_there else _left(library, program))
    except BaseException:
        for fd in (*(one.fd for one in maps), *(one.fd for one in taken)):
            if fd is not None:
                fd.close()
        raise
    return taken, maps


def _take(library: ctypes.CDLL, program: int, renamed: dict[int, int]) -> LoadedProgram:
    size = library.bpf_program__insn_cnt(program) * _INSN_SIZE
    name = _name(library, program)
    return LoadedProgram(
        name,
        _section(library, program),
        library.bpf_program__type(program),
        library.bpf_program__expected_attach_type(program),
        with_other_maps(ctypes.string_at(library.bpf_program__insns(program), size), renamed),
        _duplicate(library.bpf_program__fd(program), f"program {name}"),
    )


def _left(library: ctypes.CDLL, program: int) -> LoadedProgram:
    kind, attach_type = library.bpf_program__type(program), library.bpf_program__expected_attach_type(program)
    return LoadedProgram(_name(library, program), _section(library, program), kind, attach_type, b"", None)


def _duplicate(fd: int, what: str) -> FileDescriptor:
    return FileDescriptor(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3), what)


def with_other_maps(insns: bytes, renamed: dict[int, int]) -> bytes:
    """The instructions with the descriptors of maps in them replaced."""
    made = bytearray(insns)
    place = 0
    while place < len(made):
        is_wide = made[place] == _LD_IMM64
        if is_wide and made[place + 1] >> 4 in (_PSEUDO_MAP_FD, _PSEUDO_MAP_VALUE):
            fd = int.from_bytes(made[place + 4 : place + 8], "little")
            made[place + 4 : place + 8] = renamed.get(fd, fd).to_bytes(4, "little")
        place += _INSN_SIZE * (2 if is_wide else 1)
    return bytes(made)


def _load_error(name: str, number: int, said: list[str]) -> KernelError | NotPermittedError:
    text = "".join(said)
    if _LOG_BEGIN in text:
        log = text.partition(_LOG_BEGIN)[2].partition(_LOG_END)[0].strip()
        program = _between(text.partition(_LOG_BEGIN)[0], "prog '", "'")
        subject = f"program {program!r} of {name}"
        hint = "its whole log: `error.log`, or --debug"
        return VerifierError("loading an object", number, subject=subject, cause=cause_of(log), log=log, hint=hint)
    if number == errno.EPERM:
        return bpf_error("loading an object", number, name)
    return KernelError("loading an object", number or errno.EINVAL, subject=f"{name}: {_last(said)}")


def _between(text: str, start: str, end: str) -> str:
    return text.rpartition(start)[2].partition(end)[0] if start in text else ""


def _last(said: list[str]) -> str:
    """libbpf's first warning that says something, without its prefix: later ones follow from it."""
    lines = [line.strip().removeprefix("libbpf: ") for line in "".join(said).splitlines() if line.strip()]
    return lines[0] if lines else ""

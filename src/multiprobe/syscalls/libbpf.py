"""Opens and loads BPF object files with the system's libbpf (Debian: libbpf1), in a process of its own.

A damaged file may crash libbpf, which ends the child process only (`libbpf_child`). Programs and maps come back as
values and file descriptors that the caller owns.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.errors import DataError, KernelError, NotPermittedError, NotSupportedError, VerifierError
from multiprobe.syscalls import libbpf_child
from multiprobe.syscalls.bpf import cause_of
from multiprobe.syscalls.bpf import error as bpf_error
from multiprobe.syscalls.fd import FileDescriptor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from multiprobe.syscalls.libbpf_child import Message

SONAME = "libbpf.so.1"
SCRIPT = str(libbpf_child.__file__)
_LOG_BEGIN, _LOG_END = "-- BEGIN PROG LOAD LOG --", "-- END PROG LOAD LOG --"
_INSN_SIZE = 8
_LD_IMM64, _PSEUDO_MAP_FD, _PSEUDO_MAP_VALUE = 0x18, 1, 2


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
    """A map of an object; `is_internal`: libbpf made it for variables."""

    name: str
    kind: int
    key_size: int
    value_size: int
    max_entries: int
    fd: FileDescriptor
    is_internal: bool = False


def open_library() -> ctypes.CDLL:
    """The library. Raises NotSupportedError when the system has none."""
    try:
        return libbpf_child.open_library(SONAME)
    except (OSError, AttributeError) as error:
        raise NotSupportedError(
            f"{SONAME} is missing, by which object files are loaded ({error})",
            hint="install it: apt-get install libbpf1",
        ) from error


def load(
    data: bytes,
    name: str,
    choose: Callable[[str, str, int, int, bool], Wish | None],
    initialize: Callable[[bytes], Iterable[tuple[str, int, bytes]]] = lambda _types: (),
) -> tuple[list[LoadedProgram], list[LoadedMap], bytes]:
    """Load an object file: its programs, its maps, and its BTF (empty if it has none). The caller owns the descriptors.

    name: what the object is called in messages, and in the names of its maps of variables
    choose: how to load a program, or None for libbpf's own way; called with its name, section, type, expected attach
        type, and whether libbpf would load it (not if its section begins with "?")
    initialize: for the BTF: the first values of variables, each as (section, offset, bytes)

    Raises DataError (not an object that libbpf reads), NotSupportedError (no library), NotPermittedError,
    VerifierError and KernelError, and what `choose` and `initialize` raise.
    """
    open_library()
    with _Child(data, name) as child:
        opened = child.receive("opening")
        if "error" in opened:
            why = _last(opened["said"]) or os.strerror(opened["error"])
            raise DataError(f"{name} is not an object file that libbpf can read: {why}")
        types = bytes.fromhex(opened["btf"])
        wishes = [choose(*program) for program in opened["programs"]]
        rows = [w and [w.is_wanted, w.kind, w.expected_attach_type, w.target] for w in wishes]
        child.send({"wishes": rows, "initial": [[at, n, content.hex()] for at, n, content in initialize(types)]})
        loaded = child.receive("loading")
        if "error" in loaded:
            raise _load_error(name, loaded["error"], loaded["said"])
        return (*_taken(loaded, child), types)


class _Child:
    """The process that runs libbpf, on one file."""

    def __init__(self, data: bytes, name: str) -> None:
        self.name = name
        self._channel, theirs = socket.socketpair()
        command = [sys.executable, "-I", "-S", SCRIPT, SONAME, str(theirs.fileno()), name]
        try:
            with theirs, FileDescriptor(os.memfd_create("object"), "object file") as file:
                for at in range(0, len(data), 1 << 20):
                    os.write(file.fileno(), data[at : at + (1 << 20)])
                os.lseek(file.fileno(), 0, os.SEEK_SET)
                self._process = subprocess.Popen(
                    command,
                    stdin=file.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                )
        except BaseException:
            self._channel.close()
            raise

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()
        self._process.kill()
        self._process.wait()

    def send(self, message: dict[str, object]) -> None:
        """Send a message; that the child has gone is seen when its answer is waited for."""
        try:
            libbpf_child.send(self._channel, message)
        except OSError:
            return

    def receive(self, doing: str) -> Message:
        """The child's next message. Raises DataError if it ended instead."""
        try:
            found = libbpf_child.receive(self._channel)
        except OSError:
            found = None
        if found is not None:
            return found
        status = self._process.wait()
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        raise DataError(f"{self.name} is damaged: {doing} it ended libbpf {how}", hint="compile it anew")

    def descriptors(self, names: list[str]) -> list[FileDescriptor]:
        """So many descriptors, for messages each with what it is."""
        found: list[FileDescriptor] = []
        try:
            while len(found) < len(names):
                _, fds, _, _ = socket.recv_fds(self._channel, 1, libbpf_child.FDS_PER_MESSAGE)
                found += [FileDescriptor(fd, what) for fd, what in zip(fds, names[len(found) :], strict=False)]
                if not fds:
                    raise KernelError("loading an object", errno.EMFILE, subject=self.name, hint="raise `ulimit -n`")
        except BaseException:
            for one in found:
                one.close()
            raise
        return found


def _taken(loaded: Message, child: _Child) -> tuple[list[LoadedProgram], list[LoadedMap]]:
    """The values, with descriptors of our own in the instructions too."""
    heads = [row for row in loaded["programs"] if row[-1] is not None]
    names = [f"map {row[0]}" for row in loaded["maps"]] + [f"program {row[0]}" for row in heads]
    fds = iter(child.descriptors(names))
    maps = [
        LoadedMap(name, kind, key_size, value_size, max_entries, next(fds), is_internal)
        for name, kind, key_size, value_size, max_entries, is_internal, _fd in loaded["maps"]
    ]
    renamed = {row[-1]: one.fd.fileno() for row, one in zip(loaded["maps"], maps, strict=True)}
    programs = []
    for name, section, kind, attach_type, insns in loaded["programs"]:
        code = b"" if insns is None else with_other_maps(bytes.fromhex(insns), renamed)
        programs.append(LoadedProgram(name, section, kind, attach_type, code, None if insns is None else next(fds)))
    return programs, maps


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
        hint = "its whole log: `error.log`, or --debug; mp.load_object(…, programs=[…]) leaves programs out"
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

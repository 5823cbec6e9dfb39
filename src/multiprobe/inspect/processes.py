"""Finds the processes that have mapped a file, and reads the first bytes of its functions there.

Mappings come from /proc/PID/maps, bytes from /proc/PID/mem. Processes that end meanwhile are skipped.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.arch import native
from multiprobe.binaries.mappings import TRAMPOLINE, parse_mappings
from multiprobe.errors import NoMatchError, NotPermittedError
from multiprobe.inspect.owners import command_of
from multiprobe.inspect.uprobe_code import read_site
from multiprobe.kernel.tasks import require_process
from multiprobe.plurals import plural_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from multiprobe.binaries.file import BinaryFile
    from multiprobe.binaries.mappings import FileMapping
    from multiprobe.inspect.sources import Sources

MAX_PROCESSES = 32
"""So many processes are looked at if none is named."""
MAX_SITES = 100_000
"""So many functions are looked at, over all processes; one process is always looked at as a whole."""
_PROCESSES = "processes that have mapped the file"
_RIGHTS = "run as its user, or with CAP_SYS_PTRACE"


@dataclass(frozen=True, slots=True)
class ProcessCode:
    """The first bytes of a function in a process that has mapped its file.

    pid, command: of the process; address: of the bytes there
    code: the bytes, empty where they can't be read
    state: "original", "breakpoint" (a uprobe's), "call" (an optimized uprobe's), "former_call" (one that was removed),
        "changed" or "unreadable"
    target: where the call leads, else None; trampoline: [start, end) of the [uprobes-trampoline] mapping that it is in
    """

    pid: int
    command: str
    address: int
    code: bytes
    state: str
    target: int | None
    trampoline: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class MappingProcess:
    """A process that has mapped a file. code: the mappings of the file that may be executed"""

    pid: int
    code: tuple[FileMapping, ...]
    trampolines: tuple[FileMapping, ...]


def find_processes(
    sources: Sources, file: BinaryFile, pid: int | None, *, n_sites: int, proc: str = "/proc"
) -> tuple[MappingProcess, ...]:
    """The processes that have mapped the file, by id: only `pid`, or all, as far as the limits allow.

    Raises UsageError if `pid` is no process, NotPermittedError without the right to look at it, NoMatchError if it has
    not mapped the file, or ends.
    """
    if pid is not None:
        return (_named(file, pid, proc),)
    limit = max(1, min(MAX_PROCESSES, MAX_SITES // max(n_sites, 1)))
    found: list[MappingProcess] = []
    n_hidden = 0
    for number in sorted(int(name) for name in os.listdir(proc) if name.isdecimal()):
        try:
            one = _look(file, number, proc)
        except PermissionError:
            n_hidden += 1
            continue
        except OSError:
            continue  # it has ended
        if one.code and len(found) == limit:
            sources.miss(_PROCESSES, f"only the first {limit} are looked at", "name one by --pid, in Python pid=")
            break
        found += [one] if one.code else []
    if n_hidden:
        what = f"the mappings of {plural_text(n_hidden, 'process')} can't be read"
        sources.miss(_PROCESSES, what, "run as root, with CAP_SYS_PTRACE")
    return tuple(found)


def _named(file: BinaryFile, pid: int, proc: str) -> MappingProcess:
    require_process(pid, proc=proc)
    try:
        found = _look(file, pid, proc)
        maps = _read_maps(proc, pid)
    except PermissionError as error:
        raise NotPermittedError(f"no right to look at the mappings of process {pid}", hint=_RIGHTS) from error
    except OSError as error:
        raise NoMatchError(f"process {pid} has ended") from error
    if found.code:
        return found
    path = os.path.realpath(file.path)
    others = [one for one in parse_mappings(maps) if one.path.removesuffix(" (deleted)").endswith(path)]
    if others:
        raise NoMatchError(
            f"process {pid} has mapped another file as {others[0].path}: {file.path} was replaced since then",
            hint=f"/proc/{pid}/exe is its program, also if it was deleted; or restart the process",
        )
    raise NoMatchError(f"process {pid} has not mapped {file.path} as code", hint=f"see /proc/{pid}/maps")


def _look(file: BinaryFile, pid: int, proc: str) -> MappingProcess:
    text = _read_maps(proc, pid)
    if f" {file.key[1]} " not in text:
        return MappingProcess(pid, (), ())
    mappings = parse_mappings(text)
    code = tuple(one for one in mappings if one.is_code and _is_of(one, file, pid, proc))
    return MappingProcess(pid, code, tuple(one for one in mappings if one.path == TRAMPOLINE))


def _read_maps(proc: str, pid: int) -> str:
    with open(f"{proc}/{pid}/maps", encoding="utf-8", errors="surrogateescape") as maps:
        return maps.read()


def _is_of(mapping: FileMapping, file: BinaryFile, pid: int, proc: str) -> bool:
    """Whether a mapping is of the file: on btrfs and overlayfs, the device in `maps` is not the file's."""
    device, inode = file.key[:2]
    if mapping.inode != inode:
        return False
    with suppress(OSError):
        found = os.stat(f"{proc}/{pid}/map_files/{mapping.start:x}-{mapping.end:x}")
        return (found.st_dev, found.st_ino) == (device, inode)
    return mapping.device == f"{os.major(device):02x}:{os.minor(device):02x}"


def read_codes(
    sources: Sources, process: MappingProcess, sites: Sequence[tuple[int, bytes]], *, proc: str = "/proc"
) -> list[list[ProcessCode]]:
    """What a process has at each of some offsets of the file, one item for each mapping of that place.

    sites: (offset in the file, the bytes there) each
    """
    command = command_of(proc, process.pid)
    arch = native()
    with _Memory(sources, process.pid, proc) as memory:
        found = []
        for offset, original in sites:
            here = []
            for address in _addresses(process, offset):
                code = memory.read(address, len(original))
                site = read_site(arch, code, original, address, process.trampolines)
                here.append(ProcessCode(process.pid, command, address, code, site.state, site.target, site.trampoline))
            found.append(here)
    return found


def _addresses(process: MappingProcess, offset: int) -> Iterator[int]:
    for mapping in process.code:
        if mapping.has_offset(offset):
            yield mapping.start + offset - mapping.offset


class _Memory:
    """The memory of a process; what can't be read is empty, and the reason is noted once."""

    def __init__(self, sources: Sources, pid: int, proc: str) -> None:
        self._sources, self._pid, self._fd = sources, pid, -1
        try:
            self._fd = os.open(f"{proc}/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            self._miss(error)

    def _miss(self, error: OSError | None = None) -> None:
        path = f"/proc/{self._pid}/mem"
        why, advice = f"{path} is empty: the process has ended", ""
        if isinstance(error, PermissionError):
            why, advice = f"no right to read {path}", _RIGHTS
        elif error is not None:
            why = f"{path}: {error.strerror}: it has ended, or unmapped the file"
        self._sources.miss(f"functions' bytes in process {self._pid}", why, advice)

    def read(self, address: int, size: int) -> bytes:
        if self._fd < 0:
            return b""
        try:
            found = os.pread(self._fd, size, address)
        except OSError as error:
            self._miss(error)
            return b""
        if not found:
            self._miss()
        return found

    def __enter__(self) -> _Memory:
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)

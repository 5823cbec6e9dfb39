"""Finds the file of a binary: by path, by the loader's name of a library, by a program's name, or by a process."""

from __future__ import annotations

import os
import shutil
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from multiprobe.binaries.libraries import LOADER_CACHE, find_library
from multiprobe.binaries.mappings import parse_mappings
from multiprobe.errors import NoMatchError, NotPermittedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

_MAX_LINKS = 40


def find_binary(name: str, *, loader_cache: str = LOADER_CACHE) -> str:
    """The path of a binary: `name` itself with a slash, else a library of this name, else a program on PATH.

    Raises NoMatchError if there is none.
    """
    if not name or "\0" in name:
        raise UsageError(f"invalid name of a binary: {name!r}", hint="give a path, or a library such as libc")
    if "/" in name:
        return _in_its_root(name)
    found = find_library(name, loader_cache=loader_cache) or shutil.which(name)
    if not found:
        raise NoMatchError(
            f"there is no library {name} in {loader_cache}, and no program {name} on PATH",
            hint=f"give the path; for a file of this folder: ./{name}",
        )
    return found


def _in_its_root(path: str) -> str:
    """A path with the links behind `/proc/PID/root` followed inside of that root: open(2) would leave it."""
    parts = path.split("/")
    if parts[:2] != ["", "proc"] or parts[3:4] != ["root"]:
        return path
    return follow_links("/".join(parts[:4]), "/".join(parts[4:]))


def follow_links(root: str, inside: str) -> str:
    """The file that `inside` is for a process whose root folder is `root`, as a path from here."""
    ahead = [part for part in reversed(inside.split("/")) if part not in ("", ".")]
    done: list[str] = []
    n_links = 0
    while ahead:
        part = ahead.pop()
        if part == "..":
            done = done[:-1]
            continue
        try:
            target = os.readlink("/".join((root, *done, part)))
        except OSError:
            done.append(part)
            continue
        n_links += 1
        if n_links > _MAX_LINKS:
            raise NoMatchError(f"{root}/{inside} is behind a circle of links")
        done = [] if target.startswith("/") else done
        ahead += [part for part in reversed(target.split("/")) if part not in ("", ".")]
    return "/".join((root, *done))


def program_of(pid: int, *, proc: str = "/proc") -> str:
    """The path by which the program of a process is opened, also one that was deleted or is in a container.

    Raises UsageError for a number that is no pid, NoMatchError if there is no such process or it has no program,
    NotPermittedError without the right to look.
    """
    link = f"{_process(pid, proc)}/exe"
    try:
        os.readlink(link)
    except PermissionError as error:
        raise _not_permitted(pid) from error
    except OSError as error:
        raise NoMatchError(f"process {pid} has no program: it is a thread of the kernel, or has ended") from error
    return link


def library_of(pid: int, name: str, *, proc: str = "/proc") -> str:
    """The path of the library called `name` that a process has mapped, through its own root folder.

    Raises as `program_of`; NoMatchError also if it has none of this name, or its file was deleted or replaced.
    """
    folder = _process(pid, proc)
    try:
        with open(f"{folder}/maps", encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except PermissionError as error:
        raise _not_permitted(pid) from error
    except OSError as error:
        raise NoMatchError(f"process {pid} has ended") from error
    mapped = {one.path: one.inode for one in parse_mappings(text) if one.path}
    path = _library_among(list(mapped), name)
    if not path:
        raise NoMatchError(f"process {pid} has no library {name}", hint=f"see /proc/{pid}/maps")
    return _same_file(f"{folder}/root", path, mapped[path])


def not_mapped(pid: int, files: Iterable[tuple[str, int]], *, proc: str = "/proc") -> list[str]:
    """Those of the files, (path, inode) each, of which the process has mapped nothing; none if that can't be seen.

    On some file systems the inodes there are others: a file of the same name counts as well.
    """
    try:
        with open(f"{proc}/{pid}/maps", encoding="utf-8", errors="surrogateescape") as file:
            mapped = parse_mappings(file.read())
    except OSError:
        return []
    inodes = {one.inode for one in mapped}
    names = {os.path.basename(one.path.removesuffix(" (deleted)")) for one in mapped}
    return [path for path, inode in files if inode not in inodes and os.path.basename(path) not in names]


def _process(pid: int, proc: str) -> str:
    if isinstance(pid, bool) or not isinstance(pid, int) or pid <= 0:
        raise UsageError(f"invalid pid {pid!r}: it is a number from 1")
    if not os.path.isdir(f"{proc}/{pid}"):
        raise NoMatchError(f"there is no process {pid}")
    return f"{proc}/{pid}"


def _not_permitted(pid: int) -> NotPermittedError:
    return NotPermittedError(f"no right to look at process {pid}", hint="run as its user, or with CAP_SYS_PTRACE")


def _library_among(paths: list[str], name: str) -> str:
    """The first path whose file is called `name`, `name.so…` or `name-….so` (libc-2.31.so), or matches it as a glob."""
    stem = name.removesuffix(".so")
    for path in paths:
        file = os.path.basename(path.removesuffix(" (deleted)"))
        is_called_so = file == name or (file.startswith((f"{stem}.so", f"{stem}-")) and ".so" in file)
        if is_called_so or fnmatchcase(file, name):
            return path
    return ""


def _same_file(root: str, path: str, inode: int) -> str:
    """The file by its path in the process's mount namespace; after a mere chroot, maps have the path from outside."""
    path = path.removesuffix(" (deleted)")
    for found in (follow_links(root, path), path):
        try:
            if os.stat(found).st_ino == inode:
                return found
        except OSError:
            pass
    raise NoMatchError(
        f"{path} was deleted or replaced since the process mapped it",
        hint="restart the process, which then maps the new file",
    )

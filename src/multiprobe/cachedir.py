"""Reads and writes the cache: files that can be made again, in one directory of the user's own.

The directory is `$MULTIPROBE_CACHE`, else `$XDG_CACHE_HOME/multiprobe`, else `~/.cache/multiprobe`. Another user may
have made it, or links in it (a path in /tmp, sudo with HOME kept). So files and directories in it are used only if this
user owns them and nobody else may write to them, and symbolic links are never followed.

`open_directory` and `open_file` raise OSError; `read_own`, `write_own` and `drop_old` fail silently, because no command
fails for want of a cache.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from multiprobe.errors import UsageError

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


def cache_directory() -> str:
    """The path of the directory, whether it exists or not. A relative $XDG_CACHE_HOME is ignored, as XDG asks."""
    own = os.environ.get("MULTIPROBE_CACHE")
    if own:
        return own
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "multiprobe")


def open_directory(path: str, *, make: bool = False) -> int:
    """A descriptor of a directory of the cache; `make` creates it where it doesn't exist.

    Raises OSError, EPERM if it (or one between the cache's root and it) is another user's, or writable by others.
    """
    root = cache_directory()
    below = os.path.relpath(path, root) if _is_below(path, root) else "."
    start = root if below != "." else path
    if make:
        with suppress(FileExistsError):
            os.makedirs(start, mode=0o700)
    fd = _checked(os.open(start, _DIRECTORY), start)
    for name in () if below == "." else below.split(os.sep):
        try:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=fd)
            inner = os.open(name, _DIRECTORY, dir_fd=fd)
        finally:
            os.close(fd)
        fd = _checked(inner, path)
    return fd


def _is_below(path: str, root: str) -> bool:
    return os.path.abspath(path).startswith(os.path.abspath(root) + os.sep)


def _checked(fd: int, path: str) -> int:
    """`fd` if what it is open on is this user's and closed to others' writing; otherwise it is closed."""
    status = os.fstat(fd)
    if status.st_uid == os.geteuid() and not status.st_mode & _WRITABLE_BY_OTHERS:
        return fd
    os.close(fd)
    raise PermissionError(errno.EPERM, "owned by another user, or writable by others", path)


@contextmanager
def _directory(path: str, *, make: bool = False) -> Iterator[int]:
    fd = open_directory(path, make=make)
    try:
        yield fd
    finally:
        os.close(fd)


def open_file(path: str, flags: int) -> int:
    """A descriptor of a regular file of the cache, which O_CREAT makes readable by this user only.

    Raises OSError, EPERM if the file or a directory above it is another user's, or writable by others.
    """
    with _directory(os.path.dirname(path) or ".", make=bool(flags & os.O_CREAT)) as directory:
        name, safe = os.path.basename(path), os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        fd = _checked(os.open(name, flags & ~os.O_TRUNC | safe, 0o600, dir_fd=directory), path)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", path)
    if flags & os.O_TRUNC:
        os.ftruncate(fd, 0)
    return fd


def read_own(path: str) -> bytes | None:
    """The content of a file of the cache; None if it doesn't exist, can't be read or can't be trusted."""
    try:
        with open(open_file(path, os.O_RDONLY), "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return None


def write_own(path: str, data: bytes) -> bool:
    """Replace a file of the cache in one step, making its directory; False if that can't be done."""
    try:
        with _directory(os.path.dirname(path) or ".", make=True) as directory:
            return _replace(directory, os.path.basename(path), data)
    except OSError:
        return False


def _replace(directory: int, name: str, data: bytes) -> bool:
    temporary = f".{os.urandom(8).hex()}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(temporary, flags, 0o600, dir_fd=directory)
    try:
        with open(fd, "wb") as file:
            file.write(data)
        os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise
    return True


def drop_old(path: str, names: re.Pattern[str], *, keep: int) -> None:
    """Delete all but the newest `keep` regular files of a directory of the cache whose whole names match `names`."""
    with suppress(OSError), _directory(path) as directory, os.scandir(directory) as entries:
        files = [
            (entry.stat(follow_symlinks=False).st_mtime, entry.name)
            for entry in entries
            if names.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
        ]
        for _, name in sorted(files, reverse=True)[keep:]:
            os.unlink(name, dir_fd=directory)


def path_of(path: object) -> str:
    """A path as text. Raises UsageError for what is no path, and for a text that no file can be called."""
    if not isinstance(path, str | bytes | os.PathLike):
        raise UsageError(f"invalid path {path!r}: expected the name of a file or directory")
    text = os.fsdecode(path)
    try:
        has_nul = b"\0" in os.fsencode(text)
    except UnicodeEncodeError:
        raise UsageError(f"invalid path {text!r}: the file system's encoding has no such name") from None
    if has_nul:
        raise UsageError(f"invalid path {text!r}: it has a NUL")
    return text

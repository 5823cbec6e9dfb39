"""Where multiprobe keeps what it can make again, and the care that reading it back takes.

Knows one directory: `$MULTIPROBE_CACHE`, else `$XDG_CACHE_HOME/multiprobe`, else `~/.cache/multiprobe`. Must not know
what is kept there. A cache is never a reason to fail: what can't be read or believed is None.
"""

from __future__ import annotations

import os

REGULAR, KIND_AND_WRITABLE = 0o100000, 0o170022


def cache_directory() -> str:
    """The directory, whether it is there or not."""
    own = os.environ.get("MULTIPROBE_CACHE")
    if own:
        return own
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "multiprobe")


def read_own(path: str) -> bytes | None:
    """A file's bytes if it is a regular file of ours that nobody else may write; else None."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        if status.st_uid != os.geteuid() or status.st_mode & KIND_AND_WRITABLE != REGULAR:
            return None
        return os.read(fd, status.st_size)
    except OSError:
        return None
    finally:
        os.close(fd)


def write_own(path: str, data: bytes) -> bool:
    """Put a file in place whole, readable by us only, making its directory; False if that can't be done."""
    temporary = f"{path}.{os.getpid()}.new"
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return False
    try:
        with open(fd, "wb", buffering=0) as file:
            if file.write(data) != len(data):
                raise OSError("short write")
        os.replace(temporary, path)
    except OSError:
        _unlink(temporary)
        return False
    return True


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return

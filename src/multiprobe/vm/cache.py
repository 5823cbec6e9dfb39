"""The directories in which the VM keeps what it fetched and found out, in the user's cache."""

from __future__ import annotations

import os
from pathlib import Path

from multiprobe.cachedir import cache_directory, open_directory
from multiprobe.errors import VmError, errno_name


def directory(*parts: str) -> Path:
    """The directory `parts` in the VM's part of the user's cache, created if needed.

    Raises VmError if it can't be created.
    """
    path = Path(cache_directory(), "vm", *parts).absolute()
    try:
        os.close(open_directory(str(path), make=True))
    except OSError as error:
        raise VmError(
            f"the directory for kernels can't be made: {path}: {errno_name(error.errno or 0)}",
            hint="set MULTIPROBE_CACHE to a directory of your own, which nobody else may write to",
        ) from error
    return path

"""Where the VM keeps what it has fetched and learnt: in the user's cache, outside of any checkout."""

from __future__ import annotations

from pathlib import Path

from multiprobe.cachedir import cache_directory


def directory(*parts: str) -> Path:
    """The directory `parts` under the VM's part of the user's cache, made if need be."""
    path = Path(cache_directory(), "vm", *parts).absolute()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path

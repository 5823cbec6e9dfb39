"""Finds the links that are on a file, by the path that the kernel tells of each, and what they probe where.

The kernel tells no inode. So a path is looked up again: a link is on the file if its path leads there. The path of a
deleted file leads nowhere, and is compared as text.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from multiprobe.binaries.file import BinaryFile
    from multiprobe.inspect.observed import ObservedLink
    from multiprobe.inspect.sources import Sources
    from multiprobe.inspect.uprobes import UprobeTarget

_DELETED = " (deleted)"


@dataclass(frozen=True, slots=True)
class UserAttached:
    """A link on a function of a binary.

    link: the link; target: its cookie and its place in the file; offset: bytes from the function's first byte to there
    """

    link: ObservedLink
    target: UprobeTarget
    offset: int


class UprobeIndex:
    """The probes on one file, by offset."""

    def __init__(self, sources: Sources, file: BinaryFile, links: Iterable[ObservedLink]) -> None:
        is_here = _Paths(sources, file).is_here
        found = [
            (target.offset, n, link, target)
            for n, link in enumerate(links)
            for target in link.uprobes
            if is_here(link, target.path)
        ]
        self._probes = sorted(found, key=lambda one: one[:2])
        self._offsets = [offset for offset, *_ in self._probes]

    def within(self, start: int, size: int) -> tuple[UserAttached, ...]:
        """What is on a function that begins at this offset of the file, by offset."""
        first, end = bisect_left(self._offsets, start), bisect_left(self._offsets, start + max(size, 1))
        return tuple(UserAttached(link, target, offset - start) for offset, _, link, target in self._probes[first:end])

    def next_after(self, offset: int) -> int | None:
        """The offset of the next probe behind this one."""
        at = bisect_left(self._offsets, offset + 1)
        return self._offsets[at] if at < len(self._offsets) else None


class _Paths:
    """Which paths of links lead to the file; each is looked up once for each namespace."""

    def __init__(self, sources: Sources, file: BinaryFile) -> None:
        self._sources = sources
        self._key = file.key[:2]
        self._text = os.readlink(f"/proc/self/fd/{file.fileno()}")
        self._known: dict[tuple[str, tuple[str, ...]], bool] = {}

    def is_here(self, link: ObservedLink, path: str) -> bool:
        roots = tuple(dict.fromkeys(f"/proc/{owner.pid}/root" for owner in link.owners))
        key = (path, roots)
        if key not in self._known:
            self._known[key] = self._leads_here(link, path, roots)
        return self._known[key]

    def _leads_here(self, link: ObservedLink, path: str, roots: tuple[str, ...]) -> bool:
        found = list(_identities(path, roots))
        if found:
            return self._key in found
        name = os.path.basename(self._text.removesuffix(_DELETED))
        if path == self._text:
            self._sources.miss(
                f"whether link {link.link_id or link.program} is on this file",
                f"{path} was deleted or replaced, and may have been so several times: taken for this file",
            )
            return True
        if os.path.basename(path.removesuffix(_DELETED)) == name:
            why = f"its path {path} leads to no file: deleted, replaced, or of a container. Taken for another file"
            self._sources.miss(f"whether link {link.link_id or link.program} is on this file", why)
        return False


def _identities(path: str, roots: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    """(device, inode) of the files to which a path leads, here and for the processes with these roots."""
    for root in ("", *roots):
        try:
            found = os.stat(f"{root}{path}")
        except OSError:
            continue
        yield found.st_dev, found.st_ino

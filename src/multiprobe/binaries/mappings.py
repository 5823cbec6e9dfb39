"""Parses /proc/PID/maps. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

TRAMPOLINE = "[uprobes-trampoline]"
#: Line feeds in paths are written as \\012.
_LINE = re.compile(
    r"^(?P<start>[0-9a-f]{1,16})-(?P<end>[0-9a-f]{1,16}) ..(?P<x>.). (?P<offset>[0-9a-f]{1,16}) (?P<device>\S+) "
    r"(?P<inode>\d{1,20}) *(?P<path>.*)$",
    re.MULTILINE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class FileMapping:
    """A range of a process's memory, [start, end), that maps a file from `offset` on.

    is_code: whether it may be executed; device: "major:minor" in hexadecimal; inode: 0 without a file
    path: the file's, with " (deleted)" behind it if it was deleted or replaced; or a name of the kernel's: "[vdso]"
    """

    start: int
    end: int
    offset: int
    is_code: bool
    device: str
    inode: int
    path: str

    def has_offset(self, offset: int) -> bool:
        """Whether the byte at this offset of the file is in it."""
        return self.offset <= offset < self.offset + self.end - self.start


def parse_mappings(text: str) -> list[FileMapping]:
    """All mappings, in order."""
    return [
        FileMapping(
            int(found["start"], 16),
            int(found["end"], 16),
            int(found["offset"], 16),
            found["x"] == "x",
            found["device"],
            int(found["inode"]),
            found["path"],
        )
        for found in _LINE.finditer(text)
    ]

"""Reads ftrace's lists from tracefs and debugfs, and finds where these are mounted.

Formats: available_filter_functions (with and without addresses) and kprobes/blacklist. `parse_` is
pure, `load_` reads a file, `find_` searches the mounts. NumPy is imported when a list is parsed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.errors import NotPermittedError, NotSupportedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

AVAILABLE = "available_filter_functions"
AVAILABLE_ADDRESSES = "available_filter_functions_addrs"
USUAL_TRACEFS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
USUAL_DEBUGFS = "/sys/kernel/debug"


@dataclass(frozen=True, slots=True)
class Available:
    """The functions that ftrace can patch, in the file's order (by address), in columns of the same length n.

    names: all names, each followed by a newline; name i is `names[name_offsets[i] : name_offsets[i + 1] - 1]`
    name_offsets: uint32, n + 1 of them
    addresses: uint64, of the call site: the symbol's address, or 4 bytes in after an ENDBR; None when the file has none
    modules: uint16, index into `module_names`; 0 is vmlinux and has the name ""
    """

    names: bytes
    name_offsets: NDArray[np.uint32]
    addresses: NDArray[np.uint64] | None
    modules: NDArray[np.uint16]
    module_names: list[str]

    def __len__(self) -> int:
        return len(self.modules)

    def name(self, row: int) -> str:
        """The name of one function."""
        return self.names[self.name_offsets[row] : self.name_offsets[row + 1] - 1].decode("ascii", "backslashreplace")


@dataclass(frozen=True, slots=True)
class KprobeRange:
    """A stretch of code that kprobes never touch: [start, end), and the function it belongs to."""

    start: int
    end: int
    name: str


def parse_available(data: bytes, *, with_addresses: bool) -> Available:
    """Parse available_filter_functions: lines of `[address ]name[ [module]]`. `DataError` where it isn't."""
    import numpy as np

    from multiprobe.kernel import text_columns as columns

    what = AVAILABLE_ADDRESSES if with_addresses else AVAILABLE
    text, starts, line_ends = columns.split_lines(data, what=what)
    addresses = None
    name_starts = starts
    if with_addresses:
        width = columns.hex_width(data)
        short = np.flatnonzero(line_ends - starts < width + 2)
        if len(short):
            raise columns.complain(what, data, int(starts[short[0]]), "no `address name`")
        addresses, wrong = columns.hex_numbers(text, starts, width)
        name_starts = starts + width + 1
        spaced = text[name_starts - 1] == columns.SPACE
        if wrong >= 0 or not spaced.all():
            row = wrong if wrong >= 0 else int(np.argmin(spaced))
            raise columns.complain(what, data, int(starts[row]), "no `address name`")
    marks = (
        np.flatnonzero((text[:-1] == columns.SPACE) & (text[1:] == ord("["))) if len(text) else np.zeros(0, np.int64)
    )
    _check_modules(what, data, text, name_starts, line_ends, marks, np.searchsorted(line_ends, marks))
    named = columns.name_columns(text, name_starts, line_ends, marks)
    return Available(named.names, named.name_offsets, addresses, named.modules, named.module_names)


def _check_modules(
    what: str,
    data: bytes,
    text: NDArray[np.uint8],
    name_starts: NDArray[np.int64],
    line_ends: NDArray[np.int64],
    marks: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> None:
    """Names are not empty and hold no space, and every ` [` starts the one ` [module]` that ends its line."""
    import numpy as np

    from multiprobe.kernel import text_columns as columns

    empty = np.flatnonzero(name_starts >= line_ends)
    if len(empty):
        raise columns.complain(what, data, int(line_ends[empty[0]]), "no name")
    ends = line_ends[rows]
    good = (marks > name_starts[rows]) & (ends - marks > 3) & (text[ends - 1] == ord("]"))
    good[1:] &= rows[1:] != rows[:-1]
    if not good.all():
        raise columns.complain(what, data, int(marks[np.argmin(good)]), "no `[module]` after the space")
    spaces = np.flatnonzero(text == columns.SPACE)
    at = np.searchsorted(line_ends, spaces)
    stray = spaces[(spaces >= name_starts[at]) & ~np.isin(spaces, marks, assume_unique=True)]
    if len(stray):
        raise columns.complain(what, data, int(stray[0]), "a space within the name")


def parse_blacklist(data: bytes) -> list[KprobeRange]:
    """Parse kprobes/blacklist: lines of `0xstart-0xend<tab>name`; lines in another form are left out."""
    ranges = []
    for line in data.decode("ascii", "backslashreplace").splitlines():
        span, _, name = line.partition("\t")
        start, _, end = span.partition("-")
        try:
            found = KprobeRange(int(start, 16), int(end, 16), name.strip())
        except ValueError:
            continue
        if 0 <= found.start <= found.end < 1 << 64:
            ranges.append(found)
    return ranges


def parse_mounts(data: bytes, filesystem: str) -> list[str]:
    """The mount points of one kind of file system in a mountinfo file, in its order."""
    points = []
    for line in data.split(b"\n"):
        before, separator, after = line.partition(b" - ")
        if separator and after.split(b" ", 1)[0] == filesystem.encode():
            fields = before.split(b" ")
            if len(fields) > 4:
                points.append(os.fsdecode(_unescape(fields[4])))
    return points


def _unescape(path: bytes) -> bytes:
    """Undo the octal escapes of mountinfo: space, tab, newline and backslash."""
    for octal, char in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        path = path.replace(octal, char)
    return path


def find_tracefs(*, root: str = "/") -> str | None:
    """Where tracefs is mounted and can be entered, or None. `root` is where the files of the system stand."""
    return _find(USUAL_TRACEFS, "tracefs", "README", root)


def find_debugfs(*, root: str = "/") -> str | None:
    """Where debugfs is mounted and can be entered, or None."""
    return _find((USUAL_DEBUGFS,), "debugfs", "", root)


def _find(usual: tuple[str, ...], filesystem: str, witness: str, root: str) -> str | None:
    if witness:
        for point in usual:
            if os.path.exists(_under(root, point, witness)):
                return _under(root, point)
    try:
        with open(_under(root, "/proc/self/mountinfo"), "rb") as file:
            points = parse_mounts(file.read(), filesystem)
    except OSError:
        return None
    for point in points:
        if os.path.isdir(_under(root, point)):
            return _under(root, point)
    return None


def _under(root: str, *parts: str) -> str:
    return os.path.join(root, *(part.lstrip("/") for part in parts)).rstrip("/")


def load_available(tracefs: str) -> Available:
    """Read which functions ftrace can patch, with addresses where the kernel gives them (6.5 on)."""
    try:
        return parse_available(_read(tracefs, AVAILABLE_ADDRESSES), with_addresses=True)
    except FileNotFoundError:
        pass
    try:
        return parse_available(_read(tracefs, AVAILABLE), with_addresses=False)
    except FileNotFoundError as error:
        raise NotSupportedError(
            f"{tracefs}/{AVAILABLE} doesn't exist", hint="the kernel needs CONFIG_DYNAMIC_FTRACE=y"
        ) from error


def load_blacklist(debugfs: str | None) -> list[KprobeRange] | None:
    """Read what kprobes never touch; None where it can't be read."""
    data = _read_optional(debugfs, "kprobes/blacklist")
    return None if data is None else parse_blacklist(data)


def _read(directory: str, name: str) -> bytes:
    path = f"{directory}/{name}"
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except PermissionError as error:
        raise NotPermittedError(
            f"{path} can't be read: {error.strerror}",
            hint="run as root; under kernel lockdown (confidentiality) tracefs stays closed to root as well",
        ) from error


def _read_optional(directory: str | None, name: str) -> bytes | None:
    if directory is None:
        return None
    try:
        with open(f"{directory}/{name}", "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return None

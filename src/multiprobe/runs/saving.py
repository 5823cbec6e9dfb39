"""Writes a saved run: whole or not at all."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from itertools import groupby
from typing import TYPE_CHECKING, BinaryIO
from zlib import crc32

from multiprobe.names import json_line
from multiprobe.runs.compression import compressor_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from multiprobe.runs.info import RunInfo

    Label = tuple[str, str]

NAMES_A_LINE = 1_000
"""Attached functions that are named in one line."""


class RunWriter:
    """Writes the lines of a run to a file that is open for writing; `path` decides on the compression."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        self._file, self._compressor = file, compressor_for(path)
        self._checksum = 0

    def write(self, item: Mapping[str, object]) -> None:
        """Write an object as one line."""
        line = json_line(item).encode() + b"\n"
        self._checksum = crc32(line, self._checksum)
        self._file.write(self._compressor.compress(line))

    def end(self, n_rows: int) -> None:
        """Write the last line, by which a reader knows that nothing is missing or was changed."""
        self.write({"type": "end", "rows": n_rows, "crc32": self._checksum})
        self._file.write(self._compressor.flush())


def save_run(
    info: RunInfo,
    report: Mapping[str, object],
    attached: Iterable[Label],
    rows: Iterable[Mapping[str, object]],
) -> None:
    """Write a run to `info.path`, in the place of a file that is there; after any failure that one is as it was.

    attached: the (module, name) of all attached functions, called or not; rows: as `--json` prints them
    Raises OSError with the path, NotSupportedError for a .zst where zstd is not installed.
    """
    with replacing(info.path) as file:
        writer = RunWriter(file, info.path)
        writer.write(info.to_json())
        writer.write(report)
        for line in _attached_lines(attached):
            writer.write(line)
        n_rows = 0
        for row in rows:
            writer.write(row)
            n_rows += 1
        writer.end(n_rows)


def _attached_lines(attached: Iterable[Label]) -> Iterator[dict[str, object]]:
    for module, labels in groupby(sorted(set(attached)), key=lambda label: label[0]):
        names = [name for _, name in labels]
        for start in range(0, len(names), NAMES_A_LINE):
            yield {"type": "attached", "module": module, "functions": names[start : start + NAMES_A_LINE]}


@contextmanager
def replacing(path: str) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` when the block ends, and is deleted if it fails.

    A symbolic link stays one: what it points to is replaced. Raises OSError with the path.
    """
    target = os.path.realpath(path)
    temporary = os.path.join(os.path.dirname(target), f".{os.path.basename(target)[:200]}.{os.urandom(4).hex()}.new")
    try:
        with open(temporary, "xb") as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                os.replace(temporary, target)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary)
                raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error

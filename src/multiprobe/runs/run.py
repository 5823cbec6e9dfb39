"""`Run`: a saved run as a value."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

from multiprobe.cachedir import path_of
from multiprobe.errors import DataError, UsageError
from multiprobe.runs.info import RunInfo
from multiprobe.runs.reading import MAX_BYTES, RunReader
from multiprobe.runs.saving import save_run
from multiprobe.table import Table

if TYPE_CHECKING:
    import os
    from typing import Self

ROW_TYPES = {
    "count": ("function",),
    "latency": ("function",),
    "errors": ("group", "failure"),
    "stacks": ("stack",),
    "graph": ("call",),
    "trace": ("call",),
    "record": ("call",),
    "coverage": ("function",),
}
"""The types of the rows of each command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(RunInfo):
    """What `--save FILE` wrote: a value.

    It has the fields of `mp.RunInfo` (path, id, command, arguments, settings, host, start, end, seconds, schema,
    version, gap), and:
    rows: the rows that `--json` prints, all of them (`--top` does not shorten a saved run)
    attached: (module, name) of each attached function, called or not; module "" is the kernel image
    """

    rows: Table = field(default_factory=Table)
    attached: tuple[tuple[str, str], ...] = ()

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> Self:
        """Read a saved run. One that is cut off is read as far as it goes, and says so in `gap`.

        path: of the file; compressed if its name ends in .gz or .zst
        max_bytes: refuse a run of more decompressed bytes; its objects take some ten times as much memory
        Raises OSError; DataError for a file that is no run, is damaged, was changed, is too large, or is of a newer
        schema; NotSupportedError for .zst where zstd is not installed; UsageError for an invalid `max_bytes`.
        """
        if not isinstance(max_bytes, int) or max_bytes < 1:
            raise UsageError(f"invalid max_bytes={max_bytes!r}: expected a number of bytes")
        with RunReader(path_of(path), max_bytes=max_bytes) as reader:
            known = ROW_TYPES.get(reader.info.command)
            if known is None:
                raise DataError(f"{reader.path}: unknown command {reader.info.command[:50]!r}")
            rows = Table()
            for batch in reader.batches():
                if not all(row.get("type") in known for row in batch):
                    raise DataError(f"{reader.path} holds rows that are none of {reader.info.command}")
                rows.extend(batch)
            info = replace(reader.info, gap=reader.gap)
            kept = {one.name: getattr(info, one.name) for one in fields(info)}
            return cls(**kept, rows=rows, attached=tuple(reader.attached()))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the run to `path`, compressed if that ends in .gz or .zst, in the place of a file that is there.

        Raises OSError, NotSupportedError for .zst where zstd is not installed.
        """
        save_run(replace(self, path=path_of(path)), self.figures, self.attached, self.rows)

"""What merging and comparing have in common: they take runs and paths, count no run twice, and mix no settings."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.cachedir import path_of
from multiprobe.errors import UsageError
from multiprobe.runs.reading import RunReader
from multiprobe.runs.run import Run

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from multiprobe.runs.info import RunInfo
    from multiprobe.runs.reading import Row

    Source = Run | str | os.PathLike[str]
    Label = tuple[str, str]


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run that is being read: its `info`, its rows in batches.

    attached_digest: equal only for runs with the same attached functions, which `attached` gives
    gap: to be called when all rows were read; a sentence if the run is cut off, else ""
    """

    info: RunInfo
    attached_digest: object
    attached: Callable[[], Sequence[Label]]
    batches: Callable[[], Iterator[Sequence[Row]]]
    gap: Callable[[], str]


@contextmanager
def open_run(source: Source) -> Iterator[OpenRun]:
    """Open a run, or the file of one. Raises what `Run.load` raises."""
    if isinstance(source, Run):
        yield OpenRun(source, source.attached, lambda: source.attached, lambda: iter([source.rows]), lambda: source.gap)
        return
    with RunReader(path_of(source)) as reader:
        yield OpenRun(reader.info, reader.attached_digest, reader.attached, reader.batches, lambda: reader.gap)


class Admission:
    """Admits runs of one command with the same settings, each once.

    first: the run that others must be like; notes: a sentence for each run that came twice; paths: of runs, by their id
    """

    def __init__(self, first: RunInfo | None = None) -> None:
        self.first = first
        self.notes: list[str] = []
        self.paths: dict[str, str] = {}

    def admit(self, info: RunInfo) -> bool:
        """Whether to use a run: not if it was there before. Raises UsageError for one that doesn't fit the first."""
        if self.first is None:
            self.first = info
        require_alike(self.first, info)
        if info.id in self.paths:
            self.notes.append(f"{info.path} is the same run as {self.paths[info.id]}: it counts once")
            return False
        self.paths[info.id] = info.path
        return True


def require_alike(first: RunInfo, other: RunInfo) -> None:
    """Raise UsageError if the rows of two runs mean different things."""
    if first.command != other.command:
        raise UsageError(
            f"{first.path} is a run of {_short(first.command)}, {other.path} one of {_short(other.command)}",
            hint="only runs of the same command can be added up or compared",
        )
    for name in sorted({*first.settings, *other.settings}):
        one, two = first.settings.get(name), other.settings.get(name)
        if one != two:
            values = f"{name[:50]} is {_short(one)} and {_short(two)}"
            raise UsageError(
                f"{first.path} and {other.path} measured different things: {values}",
                hint="only runs with the same settings can be added up or compared",
            )


def _short(item: object) -> str:
    text = item if isinstance(item, str) else json.dumps(item)
    return text if len(text) <= 50 else f"{text[:50]}…"

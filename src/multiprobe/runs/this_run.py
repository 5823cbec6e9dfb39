"""Describes the run that this process measures, and saves it: all that `--save` needs."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from multiprobe.runs.host import Moment, this_host
from multiprobe.runs.info import RunInfo
from multiprobe.runs.saving import save_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["describe_run", "save_run"]


def describe_run(
    path: str, line: Sequence[str], *, settings: Mapping[str, object], times: tuple[int, int], seconds: float
) -> RunInfo:
    """A run on this host. `line`: its command line, from the name of the measuring command.

    times: when it began and ended to measure, CLOCK_MONOTONIC in ns; seconds: how long it did
    """
    now = Moment.now()
    start, end = (Moment(now.wall_ns - now.monotonic_ns + at, at) for at in times)
    return RunInfo(
        path=path,
        id=uuid.uuid4().hex,
        command=line[0],
        host=this_host(),
        start=start,
        end=end,
        arguments=tuple(line),
        settings=settings,
        seconds=round(seconds, 6),
    )

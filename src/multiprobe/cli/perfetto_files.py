"""Files of calls for ui.perfetto.dev: an error names the file."""

from __future__ import annotations

from time import CLOCK_BOOTTIME, CLOCK_MONOTONIC, clock_gettime_ns
from typing import TYPE_CHECKING

from multiprobe.cli.files import naming
from multiprobe.output.perfetto import write_perfetto

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multiprobe.output.slices import Track


def write_trace(path: str, tracks: Iterable[Track]) -> None:
    """Write calls for ui.perfetto.dev. Raises OSError, which names the file."""
    ahead = clock_gettime_ns(CLOCK_BOOTTIME) - clock_gettime_ns(CLOCK_MONOTONIC)
    with naming(path), open(path, "wb") as file:
        write_perfetto(tracks, file, boottime=ahead)

"""Files that results are written to: an error names the file."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from time import CLOCK_BOOTTIME, CLOCK_MONOTONIC, clock_gettime_ns
from typing import TYPE_CHECKING

from multiprobe.output.perfetto import write_perfetto

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TextIO

    from multiprobe.output.slices import Track

_OF_FILES = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO))


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Raise what can't be written in this block as an OSError that names the file `path`."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno not in _OF_FILES:
            raise
        raise OSError(error.errno, error.strerror, path) from error


def write_trace(path: str, tracks: Iterable[Track]) -> None:
    """Write calls for ui.perfetto.dev. Raises OSError, which names the file."""
    ahead = clock_gettime_ns(CLOCK_BOOTTIME) - clock_gettime_ns(CLOCK_MONOTONIC)
    with naming(path), open(path, "wb") as file:
        write_perfetto(tracks, file, boottime=ahead)


@contextmanager
def writing(path: str) -> Iterator[TextIO]:
    """A new text file, or an old one written anew. Raises OSError, which names it."""
    with naming(path), open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        yield file

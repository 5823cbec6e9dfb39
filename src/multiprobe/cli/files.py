"""Files that results are written to: an error names the file."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

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


@contextmanager
def writing(path: str) -> Iterator[TextIO]:
    """A new text file, or an old one written anew. Raises OSError, which names it."""
    with naming(path), open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        yield file

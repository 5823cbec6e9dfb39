"""Writes one JSON object a line, flushed line by line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.names import json_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import TextIO


def write_json_lines(objects: Iterable[Mapping[str, object]], file: TextIO) -> None:
    """Write each object as one line."""
    for item in objects:
        file.write(json_line(item))
        file.write("\n")
    file.flush()

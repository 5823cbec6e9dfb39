"""Writes one JSON object a line, flushed line by line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import TextIO


def write_json_lines(objects: Iterable[Mapping[str, object]], file: TextIO) -> None:
    """Write each object as one line."""
    for item in objects:
        file.write(json.dumps(item, separators=(",", ":"), ensure_ascii=False))
        file.write("\n")
    file.flush()

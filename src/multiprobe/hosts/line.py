"""Which command lines a fleet measures by: those of measuring commands that write no files of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.errors import UsageError
from multiprobe.runs.run import ROW_TYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

_OF_ONE_HOST = (
    "--csv", "--debug", "--dry-run", "--flame", "--folded", "--heat", "--help", "--html", "--json", "--lcov", "--live",
    "--metrics", "--output", "--parquet", "--perfetto", "--save", "--vm", "-h", "-o",
)  # fmt: skip
"""Options that write, show or ask for something on the machine that measures."""


def require_measuring(line: Sequence[str]) -> None:
    """Raise UsageError unless the line begins with a measuring command, and has only options that workers may have."""
    if not line or line[0] not in ROW_TYPES:
        raise UsageError(
            f"{line[0] if line else 'nothing'!r} is not a command that measures", hint=f"use {', '.join(ROW_TYPES)}"
        )
    own = line[: line.index("--")] if "--" in line else line
    for word in own:
        name = word.partition("=")[0] if word.startswith("--") else word[:2]
        if name in _OF_ONE_HOST:
            raise UsageError(
                f"{name} is for one host",
                hint="--save, --json and others of fleet come before the measuring command",
            )


def with_file(line: Sequence[str], path: str) -> list[str]:
    """The line of a measurement that is saved in this file."""
    return [line[0], "--save", path, *line[1:]]

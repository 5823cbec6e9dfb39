"""What the commands on saved runs have in common: files and directories as arguments, and columns of tables."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from multiprobe.errors import UsageError
from multiprobe.output.table import Column

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def expand(paths: Iterable[str]) -> list[str]:
    """The files that are named, and those in directories that are named.

    Raises UsageError for an empty directory, and for an option behind `--`.
    """
    found: list[str] = []
    for path in paths:
        if path.startswith("--") and not os.path.exists(path):
            raise UsageError(f"there is no file {path}", hint="options stand before the `--` that divides the files")
        if os.path.isdir(path):
            inside = [entry.path for entry in os.scandir(path) if entry.is_file() and not entry.name.startswith(".")]
            if not inside:
                raise UsageError(f"the directory {path} holds no files", hint="name saved runs, or their directory")
            found += sorted(inside)
        else:
            found.append(path)
    return found


def label_columns(command: str) -> tuple[Column, ...]:
    """The columns of a table that say what a row is about."""
    if command == "errors":
        return Column("ERROR"), Column("OUTCOME", drop=2), Column("PATH")
    return (Column({"stacks": "STACK", "graph": "PATH"}.get(command, "FUNCTION")),)


def label_cells(row: Mapping[str, object]) -> list[str]:
    """The cells of these columns."""
    if "error" in row:
        end = {"returned": f"returned as {row['end_error']}", "handled": f"handled by {row['end']}"}
        return [str(row["error"]), end.get(str(row["outcome"]), "its end was not seen"), _path(row["path"], row)]
    if "frames" in row:
        return [_path(row["frames"], row)]
    module, task = row["module"], row.get("name")
    return [f"{row['function']}{f' [{module}]' if module else ''}{'' if task is None else f' in {task}'}"]


def _path(names: object, row: Mapping[str, object]) -> str:
    shown = [str(name) for name in names] if isinstance(names, list) else []
    return " > ".join(["…", *shown] if row.get("is_cut") else shown)


def number(row: Mapping[str, object], name: str) -> float:
    """A number of a row; 0 if missing."""
    found = row.get(name)
    return found if isinstance(found, int | float) else 0


def shown(rows: Sequence[Mapping[str, object]], top: int | None, usual: int) -> Sequence[Mapping[str, object]]:
    """The rows that are printed as text; `top` as given."""
    return rows[: (usual if top is None else top) or None]

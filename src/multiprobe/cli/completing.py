"""Completes words of a command line: the names of functions, and files behind `--`."""

from __future__ import annotations

import os
from itertools import islice
from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.errors import MultiprobeError
from multiprobe.names import encode_name

if TYPE_CHECKING:
    import click

HAS_COMMAND = "multiprobe.has_command"
"""The key of a context's `meta` that is there behind `--`."""
MOST_NAMES = 1000


def complete_pattern(context: click.Context, _parameter: click.Parameter, word: str) -> list[str]:
    """The words that a PATTERN, or behind `--` a word of COMMAND, can become."""
    if HAS_COMMAND in context.meta:
        return _files(word)
    exclusion = "!" if word.startswith("!") else ""
    return [exclusion + name for name in _names(word.removeprefix("!"))]


def _names(prefix: str) -> list[str]:
    """At most `MOST_NAMES` functions whose names begin so; none for "" (a kernel has tens of thousands)."""
    if not prefix or not prefix.isascii():
        return []
    try:
        table = mp.Kernel().table
    except (MultiprobeError, OSError):
        return []
    return list(islice(dict.fromkeys(map(table.name, table.rows_of_prefix(encode_name(prefix)))), MOST_NAMES))


def _files(prefix: str) -> list[str]:
    folder, begins = os.path.split(prefix)
    try:
        names = sorted(name for name in os.listdir(folder or ".") if name.startswith(begins))
    except OSError:
        return []
    paths = (os.path.join(folder, name) for name in names)
    return [path + "/" if os.path.isdir(path) else path for path in paths]

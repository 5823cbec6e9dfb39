"""Advice for command lines that a shell or a habit has made different from what was meant.

A shell replaces an unquoted `*` by names of files; `ls /` without `--` before it becomes two patterns.
"""

from __future__ import annotations

import os
from collections.abc import Container, Sequence

import click

from multiprobe.errors import MultiprobeError, UsageError
from multiprobe.instruments.workload import find_program

ELSEWHERE = {
    **dict.fromkeys(("-t", "--time", "--timeout", "--seconds"), "-d TIME, as in -d 10 or -d 500ms"),
    **dict.fromkeys(("-c", "--cmd", "--command"), "-- COMMAND…, after all patterns"),
    **dict.fromkeys(("-v", "--verbose"), "--debug shows a traceback with an error"),
    **dict.fromkeys(("-j", "--format"), "--json or --csv"),
    "-e": "programs are written in Python: see `multiprobe run --help`",
    "-l": "`multiprobe functions PATTERN…` lists functions",
}
"""What is written here for options of other tools."""


def elsewhere(error: click.UsageError) -> str:
    """The advice for an option that other tools have, or ""."""
    return ELSEWHERE.get(error.option_name, "") if isinstance(error, click.NoSuchOption) else ""


def advise(error: MultiprobeError, patterns: Sequence[str]) -> None:
    """Give an error about patterns another hint, if the patterns show what went wrong."""
    hint = _on_files(patterns) or on_command(patterns)
    if hint:
        error.hint = hint


def on_command(words: Sequence[str], *, among: Container[str] | None = None) -> str:
    """The advice for a command that follows the patterns without `--`, or ""; `among`: words that it can be."""
    at = next((n for n, word in enumerate(words) if n and (among is None or word in among) and _is_program(word)), 0)
    return f"put -- before the command: {' '.join([*words[:at], '--', *words[at:]])}" if at else ""


def _on_files(patterns: Sequence[str]) -> str:
    """The advice for patterns that are the names of the files of the working directory, or ""."""
    if len(patterns) > 1 and all(os.path.lexists(pattern) for pattern in patterns):
        return "quote the pattern: the shell replaces an unquoted * by the names of files"
    return ""


def _is_program(word: str) -> bool:
    try:
        return bool(word and find_program(word))
    except UsageError:
        return False

"""Compares what a command covers with a saved run of coverage: what is new, what is gone. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Set

    from multiprobe.runs.run import Run

    Label = tuple[str, str]


@dataclass(frozen=True, slots=True)
class CoverageChange:
    """What differs from a saved run, as sorted (module, name); functions that were attached in both runs only.

    new, gone: covered now and not then, and the reverse
    not_compared: how many functions were covered in one of the runs and not attached in the other
    """

    new: tuple[Label, ...]
    gone: tuple[Label, ...]
    not_compared: int


def compare_coverage(covered: Set[Label], attached: Set[Label], before: Run) -> CoverageChange:
    """Compare the functions covered now, among those attached, with a saved run.

    Raises UsageError if that is no run of coverage, and DataError if it is cut off: what it lacks would seem new.
    """
    if before.command != "coverage":
        raise UsageError(f"{before.path} is a run of {before.command}, not of coverage")
    if before.gap:
        raise DataError(f"{before.path} is {before.gap}", hint="compare with a whole file")
    then = {(str(row.get("module")), str(row.get("function"))) for row in before.rows}
    both = attached & set(before.attached)
    new, gone = sorted((covered - then) & both), sorted((then - covered) & both)
    return CoverageChange(tuple(new), tuple(gone), len((covered ^ then) - both))

"""Functions that budgets had to drop, remembered so that later attachments attach them last, in a link of their own.

Dropping functions replaces the link that they share with thousands of others, and waits for the kernel. Those that were
too hot once mostly are again, under the same kind of load: in a small link of their own they are dropped fast, and the
others' links stay.

A text file for each kernel build and kind of load in the cache directory: a function in each line, those dropped last
first.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from multiprobe.binaries.mixed import kernel_of, kernel_part
from multiprobe.cachedir import cache_directory, read_own, write_own

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multiprobe.binaries.mixed import AnyFunctionSet

MOST = 1_000
"""Functions that are remembered; of more, those that were not dropped for the longest time are forgotten."""


class Hottest:
    """What is remembered of one kernel build under one kind of load.

    load: the name of the program that is measured, "" for the whole machine. A COMMAND does not run yet when it is
        asked for: all are one kind of load.
    """

    def __init__(self, build_id: str, load: str) -> None:
        self._path = os.path.join(cache_directory(), f"hottest-{build_id}-{load.encode().hex()}") if build_id else ""

    @classmethod
    def of(cls, functions: AnyFunctionSet, pid: int | None) -> Hottest:
        """What is remembered of the kernel of these functions, when the process `pid` is measured, or the machine."""
        kernel = kernel_of(functions)
        return cls(kernel.build_id if kernel else "", "" if pid is None else _program_of(pid))

    def labels(self) -> list[str]:
        """The functions, as `FunctionSet.label` names them."""
        return (read_own(self._path) or b"").decode("ascii", "replace").splitlines() if self._path else []

    def remember(self, labels: Iterable[str]) -> None:
        """Add functions that were dropped."""
        if self._path:
            known = list(dict.fromkeys([*labels, *self.labels()]))[:MOST]
            write_own(self._path, "".join(f"{label}\n" for label in known).encode("ascii", "replace"))

    def among(self, functions: AnyFunctionSet) -> set[int]:
        """The positions of those that are among these functions."""
        first, chosen = kernel_part(functions)
        labels = set(self.labels())
        if chosen is None or not labels:
            return set()
        rows = {row for label in labels for row in chosen.table.rows_of_name(label.split(" ")[0].split("+")[0])}
        found = (position for position, row in enumerate(chosen.rows) if row in rows)
        return {first + position for position in found if chosen.label(position) in labels}


def _program_of(pid: int) -> str:
    """The name of a process's program; "" if that isn't known."""
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe"))
    except OSError:
        return ""

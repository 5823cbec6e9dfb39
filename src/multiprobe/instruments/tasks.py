"""Names of processes and threads, kept from the first time they are seen, since most are gone at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class TaskNames:
    """The names (`comm`) of tasks by id; one that was gone before it was looked at has the name ""."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {0: "idle"}

    def look(self, ids: Iterable[int]) -> None:
        """Note the names of those that aren't known yet."""
        for number in ids:
            if not self._names.get(number):
                self._names[number] = load_name(number)

    def __getitem__(self, number: int) -> str:
        return self._names.get(number, "")


def load_name(number: int) -> str:
    """The name of a task now, "" if it is gone."""
    try:
        with open(f"/proc/{number}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().rstrip("\n")
    except OSError:
        return ""

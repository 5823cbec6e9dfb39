"""Remembers the names of processes and threads while they live, since most have exited when results are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.names import decode_name

if TYPE_CHECKING:
    from collections.abc import Iterable


class TaskNames:
    """The names (`comm`) of tasks by id; "" for a task that had exited before it was looked up."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {0: "idle"}

    def look(self, ids: Iterable[int]) -> None:
        """Look up the names of the tasks that aren't known yet."""
        for number in ids:
            if not self._names.get(number):
                self._names[number] = load_name(number)

    def __getitem__(self, number: int) -> str:
        return self._names.get(number, "")


def task_ids(packed: int) -> tuple[int, int]:
    """Process and thread id from one number that holds both (`ctx.ns_pid << 32 | mp.u32(ctx.ns_tid)`)."""
    return _signed(packed >> 32), _signed(packed & 0xFFFFFFFF)


def _signed(number: int) -> int:
    return number - (1 << 32) if number >> 31 else number


def load_name(number: int) -> str:
    """The current name of a task; "" if it has exited."""
    try:
        with open(f"/proc/{number}/comm", "rb") as file:
            return decode_name(file.read().removesuffix(b"\n"))
    except OSError:
        return ""

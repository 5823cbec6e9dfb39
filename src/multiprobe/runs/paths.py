"""The calls of `graph` by the path that led to them: what runs of it have in common, calls have not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.instruments.latency.quantiles import bounds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Row = Mapping[str, object]

MAX_DEPTH = 10_000
_MOST = 1 << 64


@dataclass(slots=True)
class _Open:
    """A call whose callees may still follow; `callees`: nanoseconds spent in those that came."""

    number: int
    frames: tuple[str, ...]
    row: Row
    duration: int | None
    callees: int = 0

    def to_row(self) -> Row:
        """The row of this one call, as `Totals` adds it to others of the path."""
        duration = self.duration or 0
        ended = [[*bounds(duration.bit_length()), 1]] if self.duration is not None else []
        return {
            "type": "path",
            "module": self.row["module"],
            "function": self.row["function"],
            "frames": self.frames,
            "calls": 1,
            "running": 1 - len(ended),
            "total_ns": duration,
            "self_ns": max(0, duration - self.callees),
            "max_ns": duration,
            "histogram": ended,
        }


class CallPaths:
    """Makes of each call a row of `type` "path": its frames (outermost first) and its time, with and without that of
    the calls below it.

    Calls come after their callers, so only those are kept that a next one may be below.
    """

    def __init__(self) -> None:
        self._chain: list[_Open] = []

    def add(self, calls: Iterable[Row]) -> list[Row]:
        """The rows of the calls that end before the last of these begins.

        Raises LookupError, TypeError or ValueError for rows that `graph` does not write.
        """
        ended: list[Row] = []
        for row in calls:
            _leave(self._chain, row["caller"], ended)
            self._chain.append(_opened(row, self._chain))
        return ended

    def end(self) -> list[Row]:
        """The rows of the others."""
        ended: list[Row] = []
        _leave(self._chain, None, ended)
        return ended


def _leave(chain: list[_Open], caller: object, ended: list[Row]) -> None:
    """End the calls on the chain that are not around the next one, which this call makes."""
    while chain and chain[-1].number != caller:
        call = chain.pop()
        if chain:
            chain[-1].callees += call.duration or 0
        ended.append(call.to_row())
    if caller is not None and not chain:
        raise ValueError(f"the caller {caller!r} of a call is not around it")


def _opened(row: Row, chain: list[_Open]) -> _Open:
    number, function, module, duration = row["id"], row["function"], row["module"], row["duration"]
    if type(number) is not int or not isinstance(function, str) or not isinstance(module, str):
        raise ValueError("no call")
    if duration is not None and (type(duration) is not int or not 0 <= duration < _MOST):
        raise ValueError(f"{duration!r} is no duration")
    if len(chain) >= MAX_DEPTH:
        raise ValueError(f"more than {MAX_DEPTH:,} calls inside one another")
    name = f"{function} [{module.rpartition('/')[2]}]" if module else function
    return _Open(number, (*(chain[-1].frames if chain else ()), name), row, duration)

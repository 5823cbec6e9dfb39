"""Samples a list of growing sums over time, in columns that become coarser the longer it takes. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_COLUMNS = 120
FINEST = 0.1
"""Seconds."""


class OverTime:
    """Lists of sums at successive moments, and their increments from each to the next; `begin` is the first moment.

    `step` is the number of seconds between two moments. When there are `most` of them, every second one is dropped and
    `step` doubles.
    """

    def __init__(self, *, step: float = FINEST, most: int = MOST_COLUMNS) -> None:
        self.step = step
        self._most = most
        self._moments: list[tuple[float, list[int]]] = [(0.0, [])]

    def begin(self, seconds: float, sums: Sequence[int]) -> None:
        """Start from here, and forget earlier moments."""
        self._moments = [(seconds, list(sums))]

    def note(self, seconds: float, sums: Sequence[int], *, is_last: bool = False) -> None:
        """Add the sums at a moment; ignored if it is too early, unless it is the last."""
        since = seconds - self._moments[-1][0]
        if since <= 0 or (since < self.step / 2 and not is_last):
            return
        self._moments.append((seconds, list(sums)))
        if len(self._moments) > self._most and not is_last:
            self._moments = self._moments[::2]
            self.step *= 2

    @property
    def start(self) -> float:
        """The start of the first column, in seconds as given to `begin`."""
        return self._moments[0][0]

    @property
    def ends(self) -> list[float]:
        """The end of each column, in the same seconds; each starts where the one before ends."""
        return [seconds for seconds, _ in self._moments[1:]]

    @property
    def columns(self) -> list[list[int]]:
        """The increments in each column."""
        pairs = zip(self._moments, self._moments[1:], strict=False)
        return [
            [n - (before[bucket] if bucket < len(before) else 0) for bucket, n in enumerate(after)]
            for (_, before), (_, after) in pairs
        ]

"""How something that is only ever added to grew, in columns of time: fine at first, coarser the longer it takes. Pure.

Knows sums at moments; must not know what they count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_COLUMNS = 120
FINEST = 0.1
"""Seconds."""


class OverTime:
    """Lists of sums, noted at moments, and what was added from one to the next; `begin` is the first moment.

    `step` is how many seconds should lie between two moments: twice as many each time that there are `most` of them,
    when each second one is forgotten.
    """

    def __init__(self, *, step: float = FINEST, most: int = MOST_COLUMNS) -> None:
        self.step = step
        self._most = most
        self._moments: list[tuple[float, list[int]]] = [(0.0, [])]

    def begin(self, seconds: float, sums: Sequence[int]) -> None:
        """Time runs from here; forget what was before."""
        self._moments = [(seconds, list(sums))]

    def note(self, seconds: float, sums: Sequence[int], *, is_last: bool = False) -> None:
        """The sums at a moment; left out if that is too soon, unless it is the last time."""
        since = seconds - self._moments[-1][0]
        if since <= 0 or (since < self.step / 2 and not is_last):
            return
        self._moments.append((seconds, list(sums)))
        if len(self._moments) > self._most and not is_last:
            self._moments = self._moments[::2]
            self.step *= 2

    @property
    def ends(self) -> list[float]:
        """When each column ended, in seconds since the first one began; the others began where the one before ended."""
        return [seconds - self._moments[0][0] for seconds, _ in self._moments[1:]]

    @property
    def columns(self) -> list[list[int]]:
        """What was added in each column of time."""
        pairs = zip(self._moments, self._moments[1:], strict=False)
        return [
            [n - (before[place] if place < len(before) else 0) for place, n in enumerate(after)]
            for (_, before), (_, after) in pairs
        ]

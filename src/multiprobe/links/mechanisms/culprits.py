"""Functions that this very kernel refused before: remembered by build, so that no run has to bisect for them twice.

One small text file a kernel build in the cache directory, a line "mechanism errno function" for each. A damaged line
is skipped; a missing file means that nothing is known.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from multiprobe.cachedir import cache_directory, read_own, write_own
from multiprobe.errors import errno_name
from multiprobe.kernel.mechanism import MECHANISMS, Mechanism
from multiprobe.links.mechanisms.meaning import meaning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multiprobe.functions.sets import FunctionSet

_PASSING = frozenset({"ENOMEM", "EAGAIN", "EBUSY", "E2BIG", "EINTR"})
"""Refusals that may be over by the next time: never remembered."""


class Culprits:
    """`{function label: {mechanism bit: errno}}` of one kernel build; false when empty."""

    __slots__ = ("_known",)

    def __init__(self, known: dict[str, dict[Mechanism, int]]) -> None:
        self._known = known

    def __bool__(self) -> bool:
        return bool(self._known)

    @classmethod
    def load(cls, build_id: str) -> Culprits:
        """What is remembered of the kernel with this build id."""
        return cls(_parse(read_own(_file(build_id)) or b"")) if build_id else cls({})

    @classmethod
    def remember(cls, build_id: str, mechanism: Mechanism, refused: Mapping[str, int]) -> None:
        """Add functions that were refused (label → errno), unless the reason may pass."""
        lasting = {label: number for label, number in refused.items() if errno_name(number) not in _PASSING}
        if not build_id or not lasting:
            return
        known = cls.load(build_id)._known
        for label, number in lasting.items():
            known.setdefault(label, {})[mechanism] = number
        write_own(_file(build_id), _format(known))

    def without_known(self, masks: bytes, functions: FunctionSet) -> bytes:
        """`masks` without the mechanisms that refused each function before."""
        changed = bytearray(masks)
        for place in self._places(functions):
            for mechanism in self._known[functions.label(place)]:
                changed[place] &= ~mechanism
        return bytes(changed)

    def reason(self, functions: FunctionSet, place: int) -> str:
        """Why a function was left out, and how to have it tried again."""
        refused = self._known.get(functions.label(place), {})
        answers = ", ".join(f"{errno_name(n)} from {m.label}: {meaning(m, n)}" for m, n in refused.items())
        return f"this kernel refused it before ({answers}); to try again, remove the file culprits-* in the cache"

    def _places(self, functions: FunctionSet) -> list[int]:
        names = {label.split(" ")[0].split("+")[0] for label in self._known}
        rows = {row for name in names for row in functions.table.rows_of_name(name)}
        return [
            place for place, row in enumerate(functions.rows) if row in rows and functions.label(place) in self._known
        ]


def _file(build_id: str) -> str:
    return os.path.join(cache_directory(), f"culprits-{build_id}")


def _parse(data: bytes) -> dict[str, dict[Mechanism, int]]:
    known: dict[str, dict[Mechanism, int]] = {}
    for line in data.decode("ascii", "replace").splitlines():
        mechanism, _, rest = line.partition(" ")
        number, _, label = rest.partition(" ")
        if mechanism in MECHANISMS and number.isdigit() and label:
            known.setdefault(label, {})[MECHANISMS[mechanism]] = int(number)
    return known


def _format(known: Mapping[str, Mapping[Mechanism, int]]) -> bytes:
    lines = [f"{m.label} {number} {label}\n" for label, refused in known.items() for m, number in refused.items()]
    return "".join(lines).encode("ascii", "replace")

"""Functions that this kernel build refuses whatever the program, remembered so that no run bisects for them twice.

A text file for each kernel build in the cache directory, with lines "mechanism:side errno function". A damaged line is
skipped.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from multiprobe.cachedir import cache_directory, read_own, write_own
from multiprobe.compiler.shape import SIDES
from multiprobe.errors import errno_name
from multiprobe.kernel.mechanism import MECHANISMS, Mechanism
from multiprobe.links.mechanisms.errnos import meaning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.functions.sets import FunctionSet

    Known = dict[str, dict[tuple[Mechanism, str], int]]


_MOST_DIGITS = 6
"""Of an errno."""


class Culprits:
    """`{function label: {(mechanism, side): errno}}` of one kernel build; false when empty."""

    __slots__ = ("_known",)

    def __init__(self, known: Known) -> None:
        self._known = known

    def __bool__(self) -> bool:
        return bool(self._known)

    @classmethod
    def load(cls, build_id: str) -> Culprits:
        """What is remembered of the kernel with this build id."""
        return cls(_parse(read_own(_file(build_id)) or b"")) if build_id else cls({})

    @classmethod
    def remember(cls, build_id: str, mechanism: Mechanism, refused: Mapping[str, int], *, when: str) -> None:
        """Add functions that are refused on this side (errno by label). Prove it before: see `proof`."""
        if not build_id or not refused:
            return
        known = cls.load(build_id)._known
        for label, number in refused.items():
            known.setdefault(label, {})[mechanism, when] = number
        write_own(_file(build_id), _format(known))

    def without_known(self, masks: bytes, functions: FunctionSet, *, when: str, first: int = 0) -> bytes:
        """`masks` without the mechanisms that refused each function on this side before.

        first: the place in `masks` of the first function
        """
        changed = bytearray(masks)
        for position in self._places(functions):
            for mechanism, side in self._known[functions.label(position)]:
                if side == when:
                    changed[first + position] &= ~mechanism
        return bytes(changed)

    def reason(self, functions: AnyFunctionSet, position: int) -> str:
        """Why a function was left out, and how to have it tried again."""
        refused = self._known.get(functions.label(position), {})
        answers = ", ".join(f"{errno_name(n)} from {m.label}: {meaning(m, n)}" for (m, _), n in refused.items())
        hint = "to try again, remove the file culprits-* in the cache"
        return f"this kernel refuses it, whatever the program ({answers}); {hint}"

    def _places(self, functions: FunctionSet) -> list[int]:
        names = {label.split(" ")[0].split("+")[0] for label in self._known}
        rows = {row for name in names for row in functions.table.rows_of_name(name)}
        return [
            position
            for position, row in enumerate(functions.rows)
            if row in rows and functions.label(position) in self._known
        ]


def _file(build_id: str) -> str:
    return os.path.join(cache_directory(), f"culprits-{build_id}")


def _parse(data: bytes) -> Known:
    known: Known = {}
    for line in data.decode("ascii", "replace").splitlines():
        hook, _, rest = line.partition(" ")
        mechanism, _, side = hook.partition(":")
        number, _, label = rest.partition(" ")
        if mechanism in MECHANISMS and side in SIDES and number.isdigit() and len(number) < _MOST_DIGITS and label:
            known.setdefault(label, {})[MECHANISMS[mechanism], side] = int(number)
    return known


def _format(known: Known) -> bytes:
    lines = [
        f"{mechanism.label}:{side} {number} {label}\n"
        for label, refused in known.items()
        for (mechanism, side), number in refused.items()
    ]
    return "".join(lines).encode("ascii", "replace")

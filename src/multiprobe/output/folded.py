"""Folded stacks: one line for each stack, frames joined by semicolons, then a space and a number.

Flame graph tools read this format (flamegraph.pl, inferno, speedscope).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from multiprobe.names import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

N = TypeVar("N", int, float)


def fold(stacks: Iterable[tuple[Sequence[str], N]]) -> dict[tuple[str, ...], N]:
    """Sum up equal stacks (outermost frame first), in the order in which each was first seen."""
    sums: dict[tuple[str, ...], N] = {}
    for frames, n in stacks:
        path = tuple(frames)
        sums[path] = sums[path] + n if path in sums else n
    return sums


def folded_lines(stacks: Mapping[tuple[str, ...], int]) -> Iterator[str]:
    """The lines, sorted. A semicolon or line break inside a frame's name becomes a colon or a space."""
    for frames in sorted(stacks):
        yield f"{';'.join(map(_safe, frames))} {stacks[frames]}"


def _safe(name: str) -> str:
    return printable(" ".join(name.replace(";", ":").split())) or "?"

"""Call trees as values, for all writers: each thread's calls in order of their beginnings, with depths."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Argument = str | int | bool


@dataclass(frozen=True, slots=True)
class TraceThread:
    """A thread by its ids (`pid` is that of its process), its name, and its process's name.

    All idle tasks have the id 0: `cpu` is their CPU, and -1 for every other thread.
    """

    pid: int
    tid: int
    name: str
    process: str = ""
    cpu: int = -1


@dataclass(frozen=True, slots=True)
class Slice:
    """A call: `begin` and `end` in ns (`end` None: it didn't end, or its end wasn't seen), `depth` from 0.

    Slices are in order of their beginnings; one at depth d + 1 lies inside the last one before it at depth d.
    """

    name: str
    begin: int
    end: int | None
    depth: int
    arguments: Mapping[str, Argument] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Track:
    """A thread and its slices."""

    thread: TraceThread
    slices: Sequence[Slice]


def walk(slices: Sequence[Slice]) -> Iterator[tuple[Slice | None, Slice | None]]:
    """The slices as a walk through the tree: (slice, None) where one begins, (None, slice) where it ends."""
    open_: list[Slice] = []
    for item in slices:
        while len(open_) > item.depth:
            yield None, open_.pop()
        yield item, None
        open_.append(item)
    while open_:
        yield None, open_.pop()


def self_times(slices: Sequence[Slice]) -> Iterator[tuple[tuple[str, ...], int]]:
    """(names from the outermost to the slice, its ns less those of the slices right inside it), for each that ended.

    A slice without an end gives no time of its own; what ended inside it is given with its name in the path.
    """
    path: list[str] = []
    inside = [0]
    for begins, ends in walk(slices):
        if begins is not None:
            path.append(begins.name)
            inside.append(0)
        elif ends is not None:
            of_children = inside.pop()
            if ends.end is not None:
                total = ends.end - ends.begin
                yield tuple(path), max(0, total - of_children)
                inside[-1] += total
            path.pop()

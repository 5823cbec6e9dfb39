"""Call trees as values, for all writers: each thread's calls in order of their beginnings, with depths."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    Argument = str | int | bool

_NO_ARGUMENTS: Mapping[str, Argument] = MappingProxyType({})


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


class Slice(NamedTuple):
    """A call: `begin` and `end` in ns (`end` None: it didn't end, or its end wasn't seen), `depth` from 0.

    Slices are in order of their beginnings; one at depth d + 1 lies inside the last one before it at depth d.
    """

    name: str
    begin: int
    end: int | None
    depth: int
    arguments: Mapping[str, Argument] = _NO_ARGUMENTS


@dataclass(frozen=True, slots=True)
class Track:
    """A thread and its slices, which may be made anew for each reader."""

    thread: TraceThread
    slices: Iterable[Slice]


def walk(slices: Iterable[Slice]) -> Iterator[tuple[Slice | None, Slice | None]]:
    """The slices as a walk through the tree: (slice, None) where one begins, (None, slice) where it ends."""
    open_: list[Slice] = []
    for item in slices:
        while len(open_) > item.depth:
            yield None, open_.pop()
        yield item, None
        open_.append(item)
    while open_:
        yield None, open_.pop()


def self_times(slices: Iterable[Slice]) -> dict[tuple[str, ...], int]:
    """The sum of ns of each path (names from the outermost slice), less those of the slices right inside.

    A slice without an end gives no time of its own; what ended inside it is given with its name in the path.
    """
    root = _Node({}, 0, has_ended=False)
    path, inside = [root], [0]
    for begins, ends in walk(slices):
        if begins is not None:
            path.append(path[-1].child(begins.name))
            inside.append(0)
        elif ends is not None:
            node, of_children = path.pop(), inside.pop()
            if ends.end is not None:
                total = ends.end - ends.begin
                node.ns += max(0, total - of_children)
                node.has_ended = True
                inside[-1] += total
    return dict(_sums(root))


@dataclass(slots=True)
class _Node:
    """A path: what follows it, by name, and its ns. `has_ended`: a slice there had an end."""

    children: dict[str, _Node]
    ns: int
    has_ended: bool

    def child(self, name: str) -> _Node:
        found = self.children.get(name)
        if found is None:
            found = self.children[name] = _Node({}, 0, has_ended=False)
        return found


def _sums(root: _Node) -> Iterator[tuple[tuple[str, ...], int]]:
    pending: list[tuple[tuple[str, ...], _Node]] = [((), root)]
    while pending:  # a loop: recursion may be deeper than Python's
        path, node = pending.pop()
        if node.has_ended:
            yield path, node.ns
        pending += [((*path, name), child) for name, child in node.children.items()]

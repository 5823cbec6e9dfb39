"""What the probe of `trace` reads behind a function's arguments, and how it is put together again.

A step is one read: BLOCK_SIZE bytes of memory, or a text, at the end of a way that begins at an argument and follows
pointers. A node says what to make of it. Members that lie close to each other share a step. Knows numbers and bytes;
must not know BTF or programs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from multiprobe.kernel.btf.values import ValueType

    Spelled = str | int | bool | None
    Content = Mapping[int, bytes | str]

N_ARGUMENTS = 6
"""So many arguments are in registers, and sent with each call."""
N_MORE = 6
"""So many more can be on the stack: all that a program can ask for."""
MAX_ARGUMENTS = N_ARGUMENTS + N_MORE
BLOCK_SIZE = 64
MAX_OFFSETS = 4
"""So many numbers a way has: pointers that are followed, and where the end lies."""
MAX_OFFSET = (1 << 16) - 1
MAX_STEPS = 24
"""So many reads a call may cost."""
PLACE_MASK, TEXT_BIT, LENGTH_SHIFT, LENGTH_MASK, UNUSED_SHIFT = 0xF, 1 << 4, 8, 7, 16


@dataclass(frozen=True, slots=True)
class Step:
    """One read. `place` is the argument; each of `offsets` but the last is added and the pointer there followed."""

    place: int
    offsets: tuple[int, ...]
    is_text: bool = False

    @property
    def words(self) -> tuple[int, int]:
        """The two numbers that the probe knows it by."""
        what = self.place | (TEXT_BIT if self.is_text else 0) | len(self.offsets) << LENGTH_SHIFT
        return what, sum(offset << 16 * place for place, offset in enumerate(self.offsets))


class Node:
    """A value behind an argument. `read` gives it from what the steps brought, or None if it isn't there."""

    __slots__ = ()

    def read(self, content: Content) -> Any:
        raise NotImplementedError


class Text(Node):
    """A text, in quotes."""

    __slots__ = ("step",)

    def __init__(self) -> None:
        self.step = -1

    def read(self, content: Content) -> str | None:
        found = content.get(self.step)
        return quoted(found) if isinstance(found, str) else None


class Number(Node):
    """A number of `size` bytes; of a bit field, `bits` of it."""

    __slots__ = ("at", "bits", "shift", "size", "step", "type")

    def __init__(self, type_: ValueType, size: int, *, shift: int = 0, bits: int = 0) -> None:
        self.type, self.size, self.shift, self.bits = type_, size, shift, bits
        self.step, self.at = -1, 0

    def read(self, content: Content) -> Spelled:
        found = content.get(self.step)
        if not isinstance(found, bytes):
            return None
        number = int.from_bytes(found[self.at : self.at + self.size], "little")
        if self.bits:
            number = number >> self.shift & (1 << self.bits) - 1
        return self.type.read(number)


class Pointer(Node):
    """A pointer, or what is behind it where that is known."""

    __slots__ = ("behind", "number")

    def __init__(self, number: Number, behind: Node | None) -> None:
        self.number, self.behind = number, behind

    def read(self, content: Content) -> Any:
        found = None if self.behind is None else self.behind.read(content)
        if found is not None:
            return found
        address = self.number.read(content)
        return "NULL" if address == "0x0" else address


class Members(Node):
    """A struct: those of its members that were read, by name."""

    __slots__ = ("nodes",)

    def __init__(self, nodes: Sequence[tuple[str, Node]]) -> None:
        self.nodes = tuple(nodes)

    def read(self, content: Content) -> dict[str, Any] | None:
        found = {}
        for name, node in self.nodes:
            item = node.read(content)
            if item is not None:
                found[name] = item
        return found or None


class Socket(Members):
    """A socket: its family, and what sockets of that family have."""

    __slots__ = ("by_family",)

    def __init__(self, nodes: Sequence[tuple[str, Node]], by_family: Mapping[str, Members]) -> None:
        super().__init__(nodes)
        self.by_family = by_family

    def read(self, content: Content) -> dict[str, Any] | None:
        found = super().read(content)
        more = self.by_family.get(found["family"]) if found else None
        return found if found is None or more is None else found | (more.read(content) or {})


class Items(Node):
    """An array of numbers."""

    __slots__ = ("nodes",)

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = tuple(nodes)

    def read(self, content: Content) -> list[Any] | None:
        found = [node.read(content) for node in self.nodes]
        return None if None in found else found


def quoted(text: str) -> str:
    """Text in quotes, on one line."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    if escaped.isprintable():
        return f'"{escaped}"'
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in escaped) + '"'


_Key = tuple[int, tuple[int, ...], bool]


class Planner:
    """Gathers the nodes of one function, and finds the steps that bring them, MAX_STEPS at most.

    Those asked for while `is_first` come first, then what is behind few pointers. Nodes for which no step is left stay
    without one, and read as None.
    """

    def __init__(self) -> None:
        self.is_first = False
        self._groups: dict[_Key, list[tuple[int, Number | Text]]] = {}
        self._ranks: dict[_Key, int] = {}
        self._limits: dict[_Key, int] = {}

    def text(self, place: int, offsets: tuple[int, ...]) -> Text:
        """A text at the end of a way; the same way twice is read once."""
        made = Text()
        self._add((place, offsets, True), 0, made)
        return made

    def number(self, made: Number, place: int, offsets: tuple[int, ...], *, limit: int = 0) -> Number:
        """A number at the end of a way; `limit` is where the memory that it lies in ends (0: unknown)."""
        key = (place, offsets[:-1], False)
        self._add(key, offsets[-1], made)
        self._limits[key] = max(limit, self._limits.get(key, 0))
        return made

    def _add(self, key: _Key, offset: int, made: Number | Text) -> None:
        self._groups.setdefault(key, []).append((offset, made))
        rank = 0 if self.is_first else len(key[1]) + (not key[2])
        self._ranks[key] = min(rank, self._ranks.get(key, rank))

    def steps(self) -> tuple[Step, ...]:
        """All steps, the most important first."""
        found: list[Step] = []
        for key in sorted(self._groups, key=self._ranks.__getitem__):
            place, way, is_text = key
            if is_text:
                if len(found) < MAX_STEPS:
                    for _, text in self._groups[key]:
                        text.step = len(found)
                    found.append(Step(place, way, is_text=True))
                continue
            for start, numbers in blocks(self._groups[key], self._limits[key]):
                if len(found) < MAX_STEPS:
                    for offset, number in numbers:
                        number.step, number.at = len(found), offset - start
                    found.append(Step(place, (*way, start)))
        return tuple(found)


def blocks(members: Sequence[tuple[int, Any]], limit: int) -> list[tuple[int, list[tuple[int, Any]]]]:
    """The fewest blocks that hold all members, (offset, Number) each: where a block begins, and its members."""
    found: list[tuple[int, list[tuple[int, Any]]]] = []
    for offset, number in sorted(members, key=lambda member: member[0]):
        if not found or offset + number.size > found[-1][0] + BLOCK_SIZE:
            # A block ends where its struct does: what comes after it may not be there.
            start = offset & ~7
            found.append((min(start, limit - BLOCK_SIZE) if limit >= BLOCK_SIZE else start, []))
        found[-1][1].append((offset, number))
    return found

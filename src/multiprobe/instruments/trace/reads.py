"""Plans the memory reads behind a function's arguments, and decodes what was read.

A step is one read, of BLOCK_SIZE bytes of memory or of a string, at the end of a chain of pointers that begins at an
argument. A node decodes a value from the steps' results. Members close to each other are read by one step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.names import decode_name, printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from multiprobe.kernel.btf.values import ValueType

    Spelled = str | int | bool | None
    Content = Mapping[int, bytes | str]

N_ARGUMENTS = 6
"""The number of arguments in registers, which are sent with each call."""
N_MORE = 6
"""The number of further arguments, on the stack, that a program can read."""
MAX_ARGUMENTS = N_ARGUMENTS + N_MORE
BLOCK_SIZE = 64
MAX_OFFSETS = 4
"""The number of offsets of a step: one for each pointer that is followed, and a final one."""
MAX_OFFSET = (1 << 16) - 1
MAX_STEPS = 24
"""The number of reads per call."""
ARGUMENT_MASK, TEXT_BIT, FILL_BIT, LENGTH_SHIFT, LENGTH_MASK = 0xF, 1 << 4, 1 << 5, 8, 7
SIZE_SHIFT, SIZE_MASK, UNUSED_SHIFT = 16, 0xFF, 32
BY_VALUE = -2
"""The number, in place of a step's, of a struct that is passed by value."""
FILLED = 0xFF
"""The number, in place of a step's, of the string in a buffer that the call filled."""


@dataclass(frozen=True, slots=True)
class ReadStep:
    """One read, from the argument at `position`. Each of `offsets` but the last is added and the pointer followed.

    is_filled: the memory is read when the call has returned
    size: so many bytes of the block are used
    """

    position: int
    offsets: tuple[int, ...]
    is_text: bool = False
    is_filled: bool = False
    size: int = BLOCK_SIZE

    @property
    def words(self) -> tuple[int, int]:
        """The two numbers that encode it in the program's table."""
        what = self.position | (TEXT_BIT if self.is_text else 0) | (FILL_BIT if self.is_filled else 0)
        what |= len(self.offsets) << LENGTH_SHIFT
        what |= 0 if self.is_text or self.is_filled else self.size << SIZE_SHIFT
        return what, sum(offset << 16 * n for n, offset in enumerate(self.offsets))


class Node:
    """A value behind an argument. `read` decodes it from the steps' results; None if it could not be read."""

    __slots__ = ()

    def read(self, content: Content) -> object:
        raise NotImplementedError


class Text(Node):
    """A string, in quotes."""

    __slots__ = ("step",)

    def __init__(self) -> None:
        self.step = -1

    def read(self, content: Content, *, most: int | None = None) -> str | None:
        """The string, or the first `most` bytes of it."""
        found = content.get(self.step)
        if not isinstance(found, str):
            return None
        if most is not None:
            found = decode_name(found.encode(errors="surrogateescape")[:most])
        return quoted(found)


class Filled(Text):
    """A string in a buffer that the call filled: as many bytes as it returned, at most those that the buffer has."""

    __slots__ = ()

    def __init__(self) -> None:
        self.step = FILLED


class Number(Node):
    """A number of `size` bytes, or a bit field of `bits` bits in it."""

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
    """A pointer, or what it points to if that is decoded."""

    __slots__ = ("behind", "number")

    def __init__(self, number: Number, behind: Node | None) -> None:
        self.number, self.behind = number, behind

    def read(self, content: Content) -> object:
        found = None if self.behind is None else self.behind.read(content)
        if found is not None:
            return found
        address = self.number.read(content)
        return "NULL" if address == "0x0" else address


class Members(Node):
    """A struct: the values of its decoded members by name."""

    __slots__ = ("nodes",)

    def __init__(self, nodes: Sequence[tuple[str, Node]]) -> None:
        self.nodes = tuple(nodes)

    def read(self, content: Content) -> dict[str, object] | None:
        found = {}
        for name, node in self.nodes:
            item = node.read(content)
            if item is not None:
                found[name] = item
        return found or None


class Socket(Members):
    """A socket: its family, and the addresses of that family."""

    __slots__ = ("by_family",)

    def __init__(self, nodes: Sequence[tuple[str, Node]], by_family: Mapping[str, Members]) -> None:
        super().__init__(nodes)
        self.by_family = by_family

    def read(self, content: Content) -> dict[str, object] | None:
        found = super().read(content)
        more = self.by_family.get(str(found["family"])) if found else None
        return found if found is None or more is None else found | (more.read(content) or {})


class Items(Node):
    """An array of numbers."""

    __slots__ = ("nodes",)

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = tuple(nodes)

    def read(self, content: Content) -> list[object] | None:
        found = [node.read(content) for node in self.nodes]
        return None if None in found else found


def quoted(text: str) -> str:
    """The string in quotes, on one line."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{printable(escaped)}"'


_Key = tuple[int, tuple[int, ...], bool]


class Planner:
    """Collects the nodes of one function, and plans the steps that read them, at most MAX_STEPS.

    Nodes added while `is_first` come first, then those behind the fewest pointers. Nodes beyond the last step read as
    None.
    """

    def __init__(self) -> None:
        self.is_first = False
        self._groups: dict[_Key, list[tuple[int, Number | Text]]] = {}
        self._ranks: dict[_Key, int] = {}
        self._limits: dict[_Key, int] = {}
        self._filled: int | None = None

    def filled(self, position: int) -> Filled | None:
        """The buffer that the call fills; None if it has one already."""
        if self._filled is not None:
            return None
        self._filled = position
        return Filled()

    def text(self, position: int, offsets: tuple[int, ...]) -> Text:
        """A string at the end of a chain of pointers; equal chains are read once."""
        made = Text()
        self._add((position, offsets, True), 0, made)
        return made

    def number(self, made: Number, position: int, offsets: tuple[int, ...], *, limit: int = 0) -> Number:
        """A number at the end of a chain of pointers; `limit` is the end of its struct (0: unknown)."""
        key = (position, offsets[:-1], False)
        self._add(key, offsets[-1], made)
        self._limits[key] = max(limit, self._limits.get(key, 0))
        return made

    def _add(self, key: _Key, offset: int, made: Number | Text) -> None:
        self._groups.setdefault(key, []).append((offset, made))
        rank = 0 if self.is_first else len(key[1]) + (not key[2])
        self._ranks[key] = min(rank, self._ranks.get(key, rank))

    def steps(self) -> tuple[ReadStep, ...]:
        """All steps, the most important first."""
        found: list[ReadStep] = []
        if self._filled is not None:
            found.append(ReadStep(self._filled, (0,), is_filled=True))
        for key in sorted(self._groups, key=self._ranks.__getitem__):
            position, way, is_text = key
            if is_text:
                if len(found) < MAX_STEPS:
                    for _, text in self._groups[key]:
                        text.step = len(found)
                    found.append(ReadStep(position, way, is_text=True))
                continue
            for start, numbers in blocks(_numbers(self._groups[key]), self._limits[key]):
                if len(found) < MAX_STEPS:
                    for offset, number in numbers:
                        number.step, number.at = len(found), offset - start
                    used = max(number.at + number.size for _, number in numbers)
                    found.append(ReadStep(position, (*way, start), size=used))
        return tuple(found)


def _numbers(nodes: Sequence[tuple[int, Number | Text]]) -> list[tuple[int, Number]]:
    return [(offset, node) for offset, node in nodes if isinstance(node, Number)]


def blocks(members: Sequence[tuple[int, Number]], limit: int) -> list[tuple[int, list[tuple[int, Number]]]]:
    """The fewest blocks that hold all members, (offset, Number) each: the start of each block, and its members."""
    found: list[tuple[int, list[tuple[int, Number]]]] = []
    for offset, number in sorted(members, key=lambda member: member[0]):
        if not found or offset + number.size > found[-1][0] + BLOCK_SIZE:
            # A block must not extend beyond its struct: the memory there may be unmapped.
            start = offset & ~7
            found.append((min(start, limit - BLOCK_SIZE) if limit >= BLOCK_SIZE else start, []))
        found[-1][1].append((offset, number))
    return found


class ValuePlanner(Planner):
    """Collects the nodes of a struct that is passed by value; `planner` reads what its pointers lead to.

    words: the positions of the arguments in which each 8 bytes of it are; what is in others reads as None
    """

    def __init__(self, planner: Planner, words: Sequence[int | None]) -> None:
        super().__init__()
        self._planner = planner
        self._words = words

    def _word(self, offset: int, size: int) -> int | None:
        """The argument that has these bytes of the struct, or None."""
        at, end = offset // 8, (offset + size - 1) // 8
        return self._words[at] if at == end and at < len(self._words) else None

    def text(self, position: int, offsets: tuple[int, ...]) -> Text:
        word = self._word(offsets[0], 8) if len(offsets) > 1 else None
        return Text() if word is None else self._planner.text(word, offsets[1:])

    def number(self, made: Number, position: int, offsets: tuple[int, ...], *, limit: int = 0) -> Number:
        word = self._word(offsets[0], made.size if len(offsets) == 1 else 8)
        if word is not None and len(offsets) == 1:
            made.step, made.at = BY_VALUE, offsets[0]
        elif word is not None:
            self._planner.number(made, word, offsets[1:], limit=limit)
        return made

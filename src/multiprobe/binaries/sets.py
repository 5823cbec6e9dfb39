"""`UserFunctionSet`: an ordered set of functions of one binary, with the requests that matched nothing.

Sets are immutable and support `|`, `&` and `-`, as those of the kernel do. A set contains refused functions too.
"""

from __future__ import annotations

import os
from array import array
from dataclasses import dataclass
from itertools import compress
from operator import not_
from typing import TYPE_CHECKING, NamedTuple

from multiprobe.binaries.rules import UserVerdict, forbidding, judge_user
from multiprobe.errors import UsageError
from multiprobe.functions.sets import Refusal
from multiprobe.functions.table import NO_SLOTS
from multiprobe.kernel.btf.format import RETURNS_UNKNOWN
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.markup import MAX_ROWS
from multiprobe.markup import table as html_table
from multiprobe.plurals import plural_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Self

    import numpy as np
    from numpy.typing import NDArray

    from multiprobe.binaries.prototypes import Prototype
    from multiprobe.binaries.table import UserTable


NOT_ALLOWED = (
    "not_allowed",
    "a function of a binary is attached by uprobe_multi, which is not among the mechanisms to use",
)


class Sites(NamedTuple):
    """The instructions to probe; columns of the same length.

    positions: of the function in its set; a function may have several sites
    offsets: in the file; counters: the offset of the semaphore that guards each, 0 without one; None if none has one
    arguments: where each keeps its arguments, as the file says; None where the calling convention says it
    """

    positions: Sequence[int]
    offsets: array[int]
    counters: array[int] | None = None
    arguments: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class UserFunction:
    """One function of a program or library, as it is in the set that it was taken from.

    name: the one that was asked for, demangled; aliases: other names of the same function
    symbol: the name in the symbol table, mangled as it is there
    binary: the path of the file
    address: of its symbol, an int; file_offset: of its first byte in the file; size: in bytes, 0 if unknown
    offset: bytes from its first byte to the probe, 0 for the entry
    source: which table named it: ".symtab", ".dynsym", ".gnu_debugdata", ".gopclntab", or the path of a debug file
    verdict: whether it can be attached to, or why not
    """

    name: str
    aliases: tuple[str, ...]
    binary: str
    address: int
    file_offset: int
    size: int
    offset: int
    source: str
    verdict: UserVerdict
    symbol: str

    @property
    def module(self) -> str:
        """The name of the file, as `Function.module` is that of a kernel module."""
        return os.path.basename(self.binary)

    def __str__(self) -> str:
        return f"{self.name}+{self.offset:#x}" if self.offset else self.name


class UserFunctionSet:
    """An ordered set of functions of one binary, from `Binary.functions`. Supports `|`, `&`, `-`, `in`, iteration.

    table: all functions of the binary
    places: tuple of (row of `table`, bytes from the function's entry to the probe); by address for patterns, in the
        order of the request for names
    unresolved: a Refusal for each request that no function answers
    """

    __slots__ = ("_file_offsets", "_known_columns", "_several", "places", "table", "unresolved")

    def __init__(
        self, table: UserTable, places: Iterable[tuple[int, int]], *, unresolved: tuple[Refusal, ...] = ()
    ) -> None:
        self.table = table
        self.places = tuple(places)
        self.unresolved = unresolved
        self._file_offsets: array[int] | None = None
        self._known_columns: tuple[NDArray[np.intp], NDArray[np.uint64]] | None = None
        self._several: frozenset[str] | None = None

    positions = None
    """As `FunctionSet.positions`: cookies go with the functions of the set."""

    # -- columns of the chosen functions ---------------------------------------------------------------------------

    def addresses(self) -> array[int]:
        """The address of each function's symbol plus its offset, as in the file: array("Q")."""
        return self._probes(self.table.addresses)

    def file_offsets(self) -> array[int]:
        """Where each probe is in the file, in bytes: array("Q"), shared: don't change it."""
        if self._file_offsets is None:
            self._file_offsets = self._probes(self.table.offsets)
        return self._file_offsets

    def sites(self) -> Sites:
        """The instructions to probe, those of each function."""
        return Sites(range(len(self)), self.file_offsets())

    def offset_of(self, position: int, address: int) -> int:
        """The offset in the file of what is at `address` of a process: the probed instruction of a function.

        position: of the function in this set
        """
        return self.file_offsets()[position]

    def _probes(self, column: NDArray[np.uint64]) -> array[int]:
        """Where each function begins, by a column of the table, plus the bytes from there to its probe."""
        rows, offsets = self._columns
        return array("Q", (column[rows] + offsets).tobytes())

    @property
    def _columns(self) -> tuple[NDArray[np.intp], NDArray[np.uint64]]:
        """The two halves of `places`."""
        if self._known_columns is None:
            self._known_columns = self.table.columns(self.places)
        return self._known_columns

    def _rows(self) -> NDArray[np.intp]:
        return self._columns[0]

    def slots(self) -> bytes:
        """How many arguments each function takes: 255, unknown, one byte each."""
        return bytes([NO_SLOTS]) * len(self)

    argument_limits = slots

    def returns(self) -> bytes:
        """What the return register holds after each function: without types, all of it may count; one byte each."""
        types = self.table.types
        if types is None:
            return bytes([RETURNS_UNKNOWN]) * len(self)
        return bytes(RETURNS_UNKNOWN if one is None else types.returned(one) for one in self.prototypes())

    def prototypes(self) -> list[Prototype | None]:
        """The prototype of each function, None where types are not known: they are read by `binaries.types`."""
        types = self.table.types
        if types is None:
            return [None] * len(self)
        addresses = self.table.addresses[self._rows()].tolist()
        return [
            None if offset else types.prototypes.get(address)
            for address, (_, offset) in zip(addresses, self.places, strict=True)
        ]

    def mechanisms(self, *, when: str = "entry") -> bytes:
        """The mask of mechanisms that can attach to each function, on a kernel that has all; one byte each.

        when: "entry", "return" or "session"
        """
        can = self.table.facts[self._rows()] & forbidding(when=when) == 0
        if when != "entry":  # only at the entry may a probe be inside
            can &= self._columns[1] == 0
        masks: bytes = (can * int(Mechanism.UPROBE_MULTI)).astype("u1").tobytes()
        return masks

    # -- verdicts --------------------------------------------------------------------------------------------------

    def attachable(self, mask: int = Mechanism.ALL, *, when: str = "entry") -> UserFunctionSet:
        """The functions that a mechanism of `mask` can attach to; `when`: "entry", "return" or "session"."""
        return UserFunctionSet(self.table, compress(self.places, self._can(mask, when)))

    def refused(self, mask: int = Mechanism.ALL, *, when: str = "entry") -> UserFunctionSet:
        """The functions that no mechanism of `mask` can attach to; `when`: "entry", "return" or "session"."""
        return UserFunctionSet(self.table, compress(self.places, map(not_, self._can(mask, when))))

    def n_attachable(self, mask: int = Mechanism.ALL, *, when: str = "entry") -> int:
        """The number of functions that a mechanism of `mask` can attach to; `when`: as for `attachable`."""
        return sum(self._can(mask, when))

    def _can(self, mask: int, when: str) -> list[bool]:
        return [bool(bits & mask) for bits in self.mechanisms(when=when)]

    def verdicts(self, *, when: str = "entry") -> list[UserVerdict]:
        """The verdict on each function, in order."""
        table = self.table
        return [
            judge_user(int(table.facts[row]), self._shown(row), when=when, offset=offset) for row, offset in self.places
        ]

    def refusals(self, mask: int = Mechanism.ALL, *, when: str = "entry") -> list[Refusal]:
        """A Refusal for each function that no mechanism of `mask` can attach to at `when`, then `unresolved`."""
        refused = self.refused(mask, when=when)
        found = zip(map(str, refused), refused.verdicts(when=when), strict=True)
        return [
            *(
                Refusal(name, verdict.code or NOT_ALLOWED[0], verdict.reason or NOT_ALLOWED[1])
                for name, verdict in found
            ),
            *self.unresolved,
        ]

    def take(self, places: Sequence[int]) -> Self:
        """The functions at these positions, in this order (the set itself, if these are all positions in order)."""
        if places == range(len(self)) or (len(places) == len(self) and list(places) == list(range(len(self)))):
            return self
        return type(self)(self.table, map(self.places.__getitem__, places))

    def label(self, place: int) -> str:
        """The function at a position as it is printed: `name`, `name+0x10`."""
        row, offset = self.places[place]
        name = self._shown(row)
        return f"{name}+{offset:#x}" if offset else name

    # -- a sequence ------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, place: int) -> UserFunction:
        """The function at a position."""
        row, offset = self.places[place]
        table = self.table
        name = self._shown(row)
        return UserFunction(
            name,
            self._aliases(row, name),
            table.path,
            int(table.addresses[row]),
            int(table.offsets[row]),
            int(table.sizes[row]),
            offset,
            table.sources[table.source_of[row]],
            judge_user(int(table.facts[row]), name),
            table.names[row],
        )

    def _shown(self, row: int) -> str:
        """How a name is printed: demangled; with parameters only if the set has other functions of this name."""
        symbol = self.table.names[row]
        found = self.table.demangle(symbol)
        if found is None:
            return symbol
        return found.full if found.name in self._overloaded() else found.name

    def _overloaded(self) -> frozenset[str]:
        """The demangled names that several functions of the set have."""
        if self._several is None:
            first: dict[str, int] = {}
            found = ((self.table.demangle(self.table.names[row]), row) for row, _ in self.places)
            originals = self.table.originals
            self._several = frozenset(
                one.name for one, row in found if one and first.setdefault(one.name, originals[row]) != originals[row]
            )
        return self._several

    def _aliases(self, row: int, name: str) -> tuple[str, ...]:
        found = dict.fromkeys(self._shown(other) for other in self.table.family(row) if other != row)
        return tuple(other for other in found if other != name)

    def __iter__(self) -> Iterator[UserFunction]:
        return map(self.__getitem__, range(len(self.places)))

    def __contains__(self, item: object) -> bool:
        """Whether a UserFunction, or a name (str) under which a function is known, is in the set."""
        name = item.name if isinstance(item, UserFunction) else item
        rows = self.table.rows_named(name) if isinstance(name, str) else []
        if isinstance(item, UserFunction):
            rows = [row for row in rows if self.table.addresses[row] == item.address]
        mine = {row for row, _ in self._keys()}
        return any(int(self.table.originals[row]) in mine for row in rows)

    def __repr__(self) -> str:
        n_attachable = len(self.attachable())
        return (
            f"<{type(self).__name__} of {plural_text(len(self), self.table.kind)} of {self.table.path}, "
            f"{n_attachable} of them attachable>"
        )

    def _repr_html_(self) -> str:
        """For notebooks: the first functions, each with its place in the file, or why it can't be attached to."""
        shown = map(self.__getitem__, range(min(len(self), MAX_ROWS)))
        rows = [(str(one), f"{one.file_offset:#x}", one.source, one.verdict.reason) for one in shown]
        caption = f"{plural_text(len(self), self.table.kind)}, {len(self.attachable()):,} of them attachable"
        return html_table(("function", "offset", "source", "reason"), rows, caption=caption, n_all=len(self))

    # -- algebra ---------------------------------------------------------------------------------------------------

    def __or__(self, other: Self) -> Self:
        """All functions of both: this set's in its order, then what the other one adds."""
        self._check(other)
        mine = set(self._keys())
        added = [place for key, place in zip(other._keys(), other.places, strict=True) if key not in mine]
        return self._make([*self.places, *added], other.unresolved)

    def __and__(self, other: Self) -> Self:
        """The functions that are in both, in this set's order."""
        self._check(other)
        theirs = set(other._keys())
        return self._make([place for key, place in zip(self._keys(), self.places, strict=True) if key in theirs])

    def __sub__(self, other: Self) -> Self:
        """The functions that are not in the other set, in this set's order."""
        self._check(other)
        theirs = set(other._keys())
        return self._make([place for key, place in zip(self._keys(), self.places, strict=True) if key not in theirs])

    def _keys(self) -> list[tuple[int, int]]:
        """What makes each probe: its function, under whatever name, and its offset."""
        originals = self.table.originals
        return [(int(originals[row]), offset) for row, offset in self.places]

    def _check(self, other: Self) -> None:
        if other.table.identity != self.table.identity or len(other.table) != len(self.table):
            raise UsageError(
                f"these sets belong to two different files, {self.table.path} and {other.table.path}"
                if other.table.key != self.table.key
                else f"one of these sets has functions of {self.table.path}, the other one its USDT probes",
                hint="choose both from one mp.Binary()",
            )

    def _make(self, places: Sequence[tuple[int, int]], unresolved: tuple[Refusal, ...] = ()) -> Self:
        return type(self)(self.table, places, unresolved=tuple(dict.fromkeys((*self.unresolved, *unresolved))))

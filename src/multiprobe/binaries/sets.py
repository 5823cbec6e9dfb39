"""`UserFunctionSet`: an ordered set of functions of one binary, with the requests that matched nothing.

Sets are immutable and support `|`, `&` and `-`, as those of the kernel do. A set contains refused functions too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.binaries.rules import UserVerdict, judge_user
from multiprobe.errors import UsageError
from multiprobe.functions.sets import Refusal
from multiprobe.markup import MAX_ROWS
from multiprobe.markup import table as html_table
from multiprobe.plurals import plural_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from multiprobe.binaries.table import UserTable


@dataclass(frozen=True, slots=True)
class UserFunction:
    """One function of a program or library, as it is in the set that it was taken from.

    name: the one that was asked for; aliases: other names of the same function
    binary: the path of the file
    address: of its symbol, an int; file_offset: of its first byte in the file; size: in bytes, 0 if unknown
    offset: bytes from its first byte to the probe, 0 for the entry
    source: which table named it: ".symtab", ".dynsym", ".gnu_debugdata", or the path of a debug file
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

    def __str__(self) -> str:
        return f"{self.name}+{self.offset:#x}" if self.offset else self.name


class UserFunctionSet:
    """An ordered set of functions of one binary, from `Binary.functions`. Supports `|`, `&`, `-`, `in`, iteration.

    table: all functions of the binary
    places: tuple of (row of `table`, bytes from the function's entry to the probe); by address for patterns, in the
        order of the request for names
    unresolved: a Refusal for each request that no function answers
    """

    __slots__ = ("places", "table", "unresolved")

    def __init__(
        self, table: UserTable, places: Iterable[tuple[int, int]], *, unresolved: tuple[Refusal, ...] = ()
    ) -> None:
        self.table = table
        self.places = tuple(places)
        self.unresolved = unresolved

    # -- verdicts --------------------------------------------------------------------------------------------------

    def attachable(self) -> UserFunctionSet:
        """The functions that can be attached to."""
        facts = self.table.facts
        return UserFunctionSet(self.table, (place for place in self.places if not facts[place[0]]))

    def refused(self) -> UserFunctionSet:
        """The functions that can't be attached to."""
        facts = self.table.facts
        return UserFunctionSet(self.table, (place for place in self.places if facts[place[0]]))

    def verdicts(self) -> list[UserVerdict]:
        """The verdict on each function, in order."""
        table = self.table
        return [judge_user(int(table.facts[row]), table.names[row]) for row, _ in self.places]

    def refusals(self) -> list[Refusal]:
        """A Refusal for each function that can't be attached to, then `unresolved`."""
        refused = self.refused()
        found = zip(map(str, refused), refused.verdicts(), strict=True)
        return [*(Refusal(name, verdict.code, verdict.reason) for name, verdict in found), *self.unresolved]

    # -- a sequence ------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, place: int) -> UserFunction:
        """The function at a position."""
        row, offset = self.places[place]
        table = self.table
        name = table.names[row]
        return UserFunction(
            name,
            tuple(dict.fromkeys(table.names[other] for other in table.family(row) if other != row)),
            table.path,
            int(table.addresses[row]),
            int(table.offsets[row]),
            int(table.sizes[row]),
            offset,
            table.sources[table.source_of[row]],
            judge_user(int(table.facts[row]), name),
        )

    def __iter__(self) -> Iterator[UserFunction]:
        return map(self.__getitem__, range(len(self.places)))

    def __contains__(self, item: object) -> bool:
        """Whether a UserFunction, or a name (str) under which a function is known, is in the set."""
        name = item.name if isinstance(item, UserFunction) else item
        rows = self.table.rows_by_name.get(name, []) if isinstance(name, str) else []
        if isinstance(item, UserFunction):
            rows = [row for row in rows if self.table.addresses[row] == item.address]
        mine = {row for row, _ in self._keys()}
        return any(int(self.table.originals[row]) in mine for row in rows)

    def __repr__(self) -> str:
        n_attachable = len(self.attachable())
        return (
            f"<UserFunctionSet of {plural_text(len(self), 'function')} of {self.table.path}, "
            f"{n_attachable} of them attachable>"
        )

    def _repr_html_(self) -> str:
        """For notebooks: the first functions, each with its place in the file, or why it can't be attached to."""
        shown = map(self.__getitem__, range(min(len(self), MAX_ROWS)))
        rows = [(str(one), f"{one.file_offset:#x}", one.source, one.verdict.reason) for one in shown]
        caption = f"{plural_text(len(self), 'function')}, {len(self.attachable()):,} of them attachable"
        return html_table(("function", "offset", "source", "reason"), rows, caption=caption, n_all=len(self))

    # -- algebra ---------------------------------------------------------------------------------------------------

    def __or__(self, other: UserFunctionSet) -> UserFunctionSet:
        """All functions of both: this set's in its order, then what the other one adds."""
        self._check(other)
        mine = set(self._keys())
        added = [place for key, place in zip(other._keys(), other.places, strict=True) if key not in mine]
        return self._make([*self.places, *added], other.unresolved)

    def __and__(self, other: UserFunctionSet) -> UserFunctionSet:
        """The functions that are in both, in this set's order."""
        self._check(other)
        theirs = set(other._keys())
        return self._make([place for key, place in zip(self._keys(), self.places, strict=True) if key in theirs])

    def __sub__(self, other: UserFunctionSet) -> UserFunctionSet:
        """The functions that are not in the other set, in this set's order."""
        self._check(other)
        theirs = set(other._keys())
        return self._make([place for key, place in zip(self._keys(), self.places, strict=True) if key not in theirs])

    def _keys(self) -> list[tuple[int, int]]:
        """What makes each probe: its function, under whatever name, and its offset."""
        originals = self.table.originals
        return [(int(originals[row]), offset) for row, offset in self.places]

    def _check(self, other: UserFunctionSet) -> None:
        if other.table.key != self.table.key or len(other.table) != len(self.table):
            raise UsageError(
                f"these sets belong to two different files, {self.table.path} and {other.table.path}",
                hint="choose both from one mp.Binary()",
            )

    def _make(self, places: Sequence[tuple[int, int]], unresolved: tuple[Refusal, ...] = ()) -> UserFunctionSet:
        return UserFunctionSet(self.table, places, unresolved=tuple(dict.fromkeys((*self.unresolved, *unresolved))))

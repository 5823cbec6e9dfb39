"""`FunctionSet`: an ordered set of functions, with the requests that matched nothing.

Sets are immutable and support `|`, `&` and `-`. A set contains refused functions too; `mechanisms()` and
`attachable()` separate them.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING

from multiprobe.errors import UsageError
from multiprobe.functions import verdict
from multiprobe.functions.table import NO_SLOTS
from multiprobe.functions.verdict import Verdict
from multiprobe.kernel.mechanism import Mechanism, mechanism_names
from multiprobe.markup import MAX_ROWS
from multiprobe.markup import table as html_table
from multiprobe.plurals import plural_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from multiprobe.functions.table import FunctionTable
    from multiprobe.functions.verdict import Rule


@dataclass(frozen=True, slots=True)
class Function:
    """One function, as it is in the set that it was taken from.

    name, module: as in /proc/kallsyms; `module` is "" for vmlinux
    address: of its symbol, an int; offset: bytes from there to the probe, 0 for the entry
    row: its row in the function table; verdict: which mechanisms can attach to it
    """

    name: str
    address: int
    module: str
    row: int
    verdict: Verdict
    offset: int = 0

    def __str__(self) -> str:
        place = f"{self.name}+{self.offset:#x}" if self.offset else self.name
        return f"{place} [{self.module}]" if self.module else place


class Refusal(tuple[str, str, str]):
    """A requested function that can't be attached.

    request: the name, pattern or address as requested; code: the cause, as in docs/json.md; reason: a sentence

    A tuple: a request for all functions makes ten thousand of them.
    """

    __slots__ = ()

    def __new__(cls, request: str, code: str, reason: str) -> Refusal:
        return super().__new__(cls, (request, code, reason))

    def __getnewargs__(self) -> tuple[str, str, str]:
        return self[0], self[1], self[2]

    @property
    def request(self) -> str:
        """The name, pattern or address as requested."""
        return self[0]

    @property
    def code(self) -> str:
        """The cause, one word, as `--json` has it."""
        return self[1]

    @property
    def reason(self) -> str:
        """The cause, a sentence."""
        return self[2]

    def __str__(self) -> str:
        return self.reason if self.reason.startswith(self.request) else f"{self.request}: {self.reason}"

    def __repr__(self) -> str:
        return f"Refusal(request={self[0]!r}, code={self[1]!r}, reason={self[2]!r})"


class FunctionSet:
    """An ordered set of functions of one kernel, from `Kernel.functions`. Supports `|`, `&`, `-`, `in`, iteration.

    rows: array("I") of rows of `table`; in the order of the request for lists, of addresses for patterns
    offsets: array("I") of bytes from each function's entry to its probe, or None when all are 0
    positions: array("I") of the position in the request that each row answers, for lists of addresses or symbols; else
        None
    unresolved: a Refusal for each request that no function answers
    unsafe: whether functions that are known to hang machines count as attachable

    Names and addresses come from /proc/kallsyms, types from BTF, the list of traceable functions from tracefs.
    """

    __slots__ = ("_addresses", "_is_head", "_masks", "offsets", "positions", "rows", "table", "unresolved", "unsafe")

    def __init__(
        self,
        table: FunctionTable,
        rows: array[int],
        *,
        offsets: array[int] | None = None,
        positions: array[int] | None = None,
        unresolved: tuple[Refusal, ...] = (),
        unsafe: bool = False,
        is_head: bool = False,
    ) -> None:
        """`is_head` promises that `rows` are 0, 1, 2, …, so that whole columns can be taken."""
        self._is_head = is_head
        self._addresses: array[int] | None = None
        self.table = table
        self.rows = rows
        self.offsets = offsets
        self.positions = positions
        self.unresolved = unresolved
        self.unsafe = unsafe
        self._masks: dict[str, bytes] = {}

    # -- columns of the chosen functions ---------------------------------------------------------------------------

    def addresses(self) -> array[int]:
        """The address of each function's symbol plus its offset: array("Q"), shared: don't change it."""
        if self._addresses is None:
            chosen = self._pick(self.table.addresses)
            if self.offsets is not None:
                chosen = list(map(int.__add__, chosen, self.offsets))
            self._addresses = array("Q", chosen)
        return self._addresses

    def btf_ids(self) -> array[int]:
        """The type id of each function in the BTF of its module, 0 without one: array("I")."""
        return array("I", self._pick(self.table.btf_ids))

    def call_offsets(self) -> bytes:
        """Bytes from each function's symbol to its ftrace call site (4 after an ENDBR, else 0), one byte each."""
        return bytes(self._pick(self.table.call_offsets))

    def slots(self) -> bytes:
        """How many 8-byte arguments each function takes by its BTF, 255 without BTF, one byte each."""
        return bytes(self._pick(self.table.slots))

    def argument_limits(self) -> bytes:
        """How many 8-byte arguments a probe finds at most, 255 where that is not known: without BTF, in a function with
        a variable number of arguments, and inside a function; one byte each."""
        facts, offsets = self._pick(self.table.facts), self.offsets or bytes(len(self))
        return bytes(
            NO_SLOTS if offset or fact & verdict.VARIADIC else n
            for n, fact, offset in zip(self.slots(), facts, offsets, strict=True)
        )

    def returns(self) -> bytes:
        """What the return register holds after each function, coded as in `kernel.btf.format`, one byte each."""
        return bytes(self._pick(self.table.returns))

    def mechanisms(self, *, when: str = "entry") -> bytes:
        """The mask of mechanisms that can attach to each function, on a kernel that has all; one byte each.

        when: "entry", "return" or "session"
        """
        known = self._masks.get(when)
        if known is None:
            known = self._masks[when] = self._find_masks(when)
        return known

    def _find_masks(self, when: str) -> bytes:
        table = self.table
        entry = leave = b""
        if when != "return":
            entry = bytes(self._pick(table.mechanisms))
        if when != "entry":
            leave = bytes(self._pick(table.return_mechanisms))
        masks = bytearray(map(int.__and__, entry, leave)) if when == "session" else bytearray(entry or leave)
        if self.unsafe:
            facts = table.facts
            for place, row in enumerate(self.rows):
                if facts[row] & verdict.UNSAFE:
                    masks[place] = verdict.mask_of(facts[row], when=when, unsafe=True)
        if self.offsets is not None:
            for place, offset in enumerate(self.offsets):
                if offset:
                    masks[place] &= Mechanism.KPROBE if when == "entry" else 0
        return bytes(masks)

    def _pick(self, column: memoryview) -> Sequence[int]:
        if self._is_head:
            return column[: len(self.rows)]
        return list(map(column.__getitem__, self.rows))

    # -- verdicts --------------------------------------------------------------------------------------------------

    def attachable(self, mask: int = Mechanism.KERNEL, *, when: str = "entry") -> FunctionSet:
        """The functions that at least one mechanism of `mask` can attach to; `when`: "entry", "return" or "session"."""
        return self.where(self.mechanisms(when=when).translate(_selectors(mask, wanted=True)))

    def refused(self, mask: int = Mechanism.KERNEL, *, when: str = "entry") -> FunctionSet:
        """The functions that no mechanism of `mask` can attach to; `when`: "entry", "return" or "session"."""
        return self.where(self.mechanisms(when=when).translate(_selectors(mask, wanted=False)))

    def n_attachable(self, mask: int = Mechanism.KERNEL, *, when: str = "entry") -> int:
        """The number of functions that at least one mechanism of `mask` can attach to; `when`: as for `attachable`."""
        return self.mechanisms(when=when).translate(_selectors(mask, wanted=True)).count(1)

    def refusals(self, mask: int = Mechanism.KERNEL, *, when: str = "entry") -> list[Refusal]:
        """A Refusal for each function that no mechanism of `mask` can attach to at `when`, then `unresolved`."""
        selectors = self.mechanisms(when=when).translate(_selectors(mask, wanted=False))
        refuse = _Refusing(self, mask, when=when)
        return [*map(refuse, compress(range(len(self)), selectors)), *self.unresolved]

    def why_not(self, mask: int = Mechanism.KERNEL, *, when: str = "entry") -> Callable[[int], Refusal]:
        """A function that takes a position and returns why mechanisms of `mask` can't attach there, at side `when`.

        The code of the Refusal that it returns is "" where all of them can.
        """
        return _Refusing(self, mask, when=when)

    def verdicts(self) -> list[Verdict]:
        """The verdict on each function, in order."""
        return [function.verdict for function in self]

    def take(self, places: Sequence[int]) -> FunctionSet:
        """The functions at these positions, in this order (the set itself, if these are all positions in order)."""
        if len(places) == len(self) and list(places) == list(range(len(self))):
            return self
        offsets = None if self.offsets is None else array("I", [self.offsets[place] for place in places])
        rows = array("I", [self.rows[place] for place in places])
        return FunctionSet(self.table, rows, offsets=offsets, unsafe=self.unsafe)

    def where(self, selectors: bytes, *, unresolved: tuple[Refusal, ...] = ()) -> FunctionSet:
        """The functions at whose position `selectors` has a byte other than 0, with these `unresolved` requests."""

        def chosen(column: array[int] | None) -> array[int] | None:
            return None if column is None else array("I", compress(column, selectors))

        return FunctionSet(
            self.table,
            array("I", compress(self.rows, selectors)),
            offsets=chosen(self.offsets),
            positions=chosen(self.positions),
            unresolved=unresolved,
            unsafe=self.unsafe,
        )

    # -- a sequence ------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> Function:
        """The function at a position."""
        row = self.rows[place]
        offset = self.offsets[place] if self.offsets is not None else 0
        return function_at(self.table, row, offset=offset, unsafe=self.unsafe)

    def __iter__(self) -> Iterator[Function]:
        return map(self.__getitem__, range(len(self.rows)))

    def label(self, place: int) -> str:
        """The function at a position as it is printed: `name`, `name+0x10`, `name [module]`."""
        table, row = self.table, self.rows[place]
        name, module = table.name(row), table.module(row)
        if self.offsets is not None and self.offsets[place]:
            name = f"{name}+{self.offsets[place]:#x}"
        return f"{name} [{module}]" if module else name

    def __contains__(self, item: object) -> bool:
        """Whether a Function, a name or an address (int) is in the set."""
        if isinstance(item, Function):
            return item.row in self.rows
        if isinstance(item, int):
            row = self.table.row_of_address(item)
            return row is not None and any(self.table.addresses[own] == item for own in self.rows)
        return isinstance(item, str) and any(row in self.rows for row in self.table.rows_of_name(item))

    def __repr__(self) -> str:
        return f"<FunctionSet of {plural_text(len(self), 'function')}, {self.n_attachable()} of them attachable>"

    def _repr_html_(self) -> str:
        """For notebooks: the first functions, each with the mechanisms that this kernel offers for it, or why none."""
        offers = self.table.offers
        rows = [
            (
                function,
                f"{function.address:#x}",
                ", ".join(mechanism_names(function.verdict.mechanisms & offers)),
                function.verdict.reason,
            )
            for function in map(self.__getitem__, range(min(len(self), MAX_ROWS)))
        ]
        caption = f"{plural_text(len(self), 'function')}, {self.n_attachable():,} of them attachable"
        return html_table(("function", "address", "mechanisms", "reason"), rows, caption=caption, n_all=len(self))

    # -- algebra ---------------------------------------------------------------------------------------------------

    def __or__(self, other: FunctionSet) -> FunctionSet:
        """All functions of both: this set's in its order, then what the other one adds."""
        self._check(other)
        mine = set(self._keys())
        added = [place for key, place in zip(other._keys(), other._places(), strict=True) if key not in mine]
        return self._make([*self._places(), *added], unresolved=other.unresolved, unsafe=other.unsafe)

    def __and__(self, other: FunctionSet) -> FunctionSet:
        """The functions that are in both, in this set's order."""
        self._check(other)
        theirs = set(other._keys())
        return self._make([place for key, place in zip(self._keys(), self._places(), strict=True) if key in theirs])

    def __sub__(self, other: FunctionSet) -> FunctionSet:
        """The functions that are not in the other set, in this set's order."""
        self._check(other)
        theirs = set(other._keys())
        return self._make([place for key, place in zip(self._keys(), self._places(), strict=True) if key not in theirs])

    def _keys(self) -> list[int]:
        """What makes each probe: its function, under whatever name, and its offset; in one number."""
        rows = self.table.distinct_rows(self.rows)
        if self.offsets is None:
            return list(rows)
        return [row | offset << 32 for row, offset in zip(rows, self.offsets, strict=True)]

    def _places(self) -> list[int]:
        """Row and offset of each probe, in one number."""
        if self.offsets is None:
            return list(self.rows)
        return [row | offset << 32 for row, offset in zip(self.rows, self.offsets, strict=True)]

    def _check(self, other: FunctionSet) -> None:
        if other.table is not self.table:
            raise UsageError(
                "these sets belong to two different readings of the kernel", hint="choose both from one mp.Kernel()"
            )

    def _make(self, places: list[int], *, unresolved: tuple[Refusal, ...] = (), unsafe: bool = False) -> FunctionSet:
        """The set of these probes, with what this set (and another) could not resolve."""
        has_offsets = any(place >> 32 for place in places)
        return FunctionSet(
            self.table,
            array("I", [place & 0xFFFFFFFF for place in places]),
            offsets=array("I", [place >> 32 for place in places]) if has_offsets else None,
            unresolved=tuple(dict.fromkeys((*self.unresolved, *unresolved))),
            unsafe=self.unsafe or unsafe,
        )


class _Refusing:
    """Makes refusals for positions in one set; remembers the rule for each combination of facts."""

    __slots__ = ("_chosen", "_mask", "_rules", "_when")

    def __init__(self, chosen: FunctionSet, mask: int, *, when: str) -> None:
        self._chosen = chosen
        self._mask = mask & Mechanism.KERNEL
        self._when = when
        self._rules: dict[int, Rule | None] = {}

    def __call__(self, place: int) -> Refusal:
        chosen, table = self._chosen, self._chosen.table
        row = chosen.rows[place]
        facts = table.facts[row]
        if facts not in self._rules:
            self._rules[facts] = verdict.main_rule(facts, mask=self._mask, when=self._when, unsafe=chosen.unsafe)
        rule = self._rules[facts]
        name = table.name(row)
        is_inside = chosen.offsets is not None and chosen.offsets[place] != 0
        if is_inside and (rule is None or not self._mask & Mechanism.KPROBE or self._when != "entry"):
            reason = f"{name} would be probed inside: only a single kprobe goes there, and only at entry"
            return Refusal(chosen.label(place), "offset", reason)
        if rule is None:
            return Refusal(chosen.label(place), "", "")
        return Refusal(chosen.label(place), rule.code, verdict.sentence_of(rule, name))


def function_at(table: FunctionTable, row: int, *, offset: int = 0, unsafe: bool = False) -> Function:
    """The function in one row of a table."""
    name = table.name(row)
    return Function(
        name, table.addresses[row], table.module(row), row, verdict.judge(table.facts[row], name, unsafe=unsafe), offset
    )


def _selectors(mask: int, *, wanted: bool) -> bytes:
    """A translation of masks to 1 where a mechanism of `mask` is (or is not) allowed, else 0."""
    return bytes(bool(bits & mask) == wanted for bits in range(256))

"""Resolves lists of functions, symbols or addresses: each request yields a row of the table or a refusal.

The result has the order of the request. A function requested twice is attached once; the second request is refused.
"""

from __future__ import annotations

import re
from array import array
from difflib import get_close_matches
from typing import TYPE_CHECKING

from multiprobe.functions.notations import system_call_function, why_in_user_space
from multiprobe.functions.pattern import ADDRESS, VMLINUX, in_modules, parse_pattern
from multiprobe.functions.sets import FunctionSet, Refusal
from multiprobe.names import encode_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multiprobe.functions.pattern import Pattern
    from multiprobe.functions.table import FunctionTable

MANY = 256  # from so many addresses on, a dictionary of all pays off
SHOWN_INSTANCES = 8
LONGEST_FUNCTION = 1 << 20
N_ALIKE, MOST_ALIKE = 4, 500  # misspelt names are sought among those that begin alike


class _Answers:
    """Rows and refusals, gathered one request at a time."""

    def __init__(self, table: FunctionTable) -> None:
        self.table = table
        self.rows = array("I")
        self.offsets = array("I")
        self.positions = array("I")
        self.unresolved: list[Refusal] = []
        self._seen: dict[tuple[int, int], str] = {}

    def take(self, position: int, request: str, row: int, offset: int) -> None:
        """Answer a request by a function, unless an earlier one was."""
        key = (self.table.distinct_row(row), offset)
        first = self._seen.get(key)
        if first is not None:
            name = self.table.name(row)
            other = f" (first as {first})" if first != request else ""
            self.refuse(request, "listed_twice", f"{name} is in the list already{other}; it is attached once")
            return
        self._seen[key] = request
        self.rows.append(row)
        self.offsets.append(offset)
        self.positions.append(position)

    def refuse(self, request: str, code: str, reason: str) -> None:
        """Answer a request by a refusal."""
        self.unresolved.append(Refusal(request, code, reason))

    def make(self, *, unsafe: bool) -> FunctionSet:
        """The set of all answers."""
        return FunctionSet(
            self.table,
            self.rows,
            offsets=self.offsets if any(self.offsets) else None,
            positions=self.positions,
            unresolved=tuple(self.unresolved),
            unsafe=unsafe,
        )


def resolve(table: FunctionTable, patterns: Sequence[Pattern], *, unsafe: bool) -> FunctionSet:
    """Answer for each symbol, `symbol+offset` and address among `patterns` (there is nothing else among them)."""
    answers = _Answers(table)
    known = _index_names(table) if len(patterns) >= MANY else None
    for position, pattern in enumerate(patterns):
        if pattern.kind == ADDRESS:
            _answer_address(answers, position, pattern.text, pattern.address)
            continue
        rows = table.rows_of_name(pattern.name) if known is None else known.get(encode_name(pattern.name), [])
        _answer_symbol(answers, position, pattern, rows)
    return answers.make(unsafe=unsafe)


def _index_names(table: FunctionTable) -> dict[bytes, list[int]]:
    """The rows of every name, in row order."""
    known: dict[bytes, list[int]] = {}
    for row, name in enumerate(table.all_names()):
        known.setdefault(name, []).append(row)
    return known


def _answer_symbol(answers: _Answers, position: int, pattern: Pattern, rows: list[int]) -> None:
    table = answers.table
    if pattern.module:
        rows = in_modules(table, rows, pattern.module)
    if not rows:
        answers.refuse(pattern.text, "unknown_name", _unknown(table, pattern))
        return
    if len({table.distinct_row(row) for row in rows}) > 1:
        answers.refuse(pattern.text, "ambiguous", _ambiguous(table, pattern.name, rows))
        return
    size = table.size(rows[0])
    if pattern.offset and not table.is_zeroed and pattern.offset >= (size or LONGEST_FUNCTION):
        reason = f"{pattern.name} is at most {size} bytes long, so that +{pattern.offset:#x} lies outside of it"
        answers.refuse(pattern.text, "wrong_offset", reason)
        return
    answers.take(position, pattern.text, rows[0], pattern.offset)


def _unknown(table: FunctionTable, pattern: Pattern) -> str:
    """Why no function has this name, as far as can be told, and what to try."""
    name = pattern.name
    if pattern.module:
        elsewhere = table.rows_of_name(name)
        if elsewhere:
            homes = ", ".join(sorted({table.module(row) or "vmlinux" for row in elsewhere}))
            return f"no module {pattern.module!r} has a function {name}; it is in {homes}"
    parts = [table.name(row) for row in table.rows_of_prefix(encode_name(f"{name}."))] if name else []
    if parts:
        return (
            f"no function is called {name}: the compiler made {', '.join(parts[:3])} of it, and its arguments may "
            f"have changed; ask for '{name}.*' if that will do"
        )
    if not pattern.module and in_modules(table, range(table.n), name):
        return f"{name} is no function: the functions of {_home(name)} are '{name}:*'"
    user_space = why_in_user_space(name, pattern.module)
    if user_space:
        return user_space
    advice = "it may have been inlined or renamed, or its module isn't loaded"
    near = _near(table, name)
    return f"no function is called {name}: {advice}" + (f"; there is {', '.join(near)}" if near else "")


def _home(module: str) -> str:
    return "the kernel image" if module == VMLINUX else f"the module {module}"


def why_no_match(table: FunctionTable, patterns: Sequence[str]) -> str:
    """Why patterns match no function, as the rest of a sentence: ": no module …", or "" if only their names differ."""
    modules = {pattern.module for pattern in map(parse_pattern, patterns) if not pattern.is_exclusion}
    absent = [module for module in modules if module and not in_modules(table, range(table.n), module)]
    if not absent:
        return ""
    return f": no module {' or '.join(sorted(absent))} is loaded (it may be built in: vmlinux:PATTERN)"


def _near(table: FunctionTable, name: str) -> list[str]:
    """A few names that look like a misspelt one: with other underscores in front, in small letters, a few letters
    different, without what a compiler appends, or those of a system call."""
    plain = re.sub(r"\W", "_", name.partition(".")[0]).lower()
    bare = plain.strip("_").removeprefix("nr_")
    others = (system_call_function(bare), plain, bare, f"_{bare}", f"__{bare}")
    found = [other for other in others if other != name and table.rows_of_name(other)]
    alike = (
        [table.name(row) for row in table.rows_of_prefix(encode_name(name[:N_ALIKE]))] if len(name) > N_ALIKE else []
    )
    return list(dict.fromkeys((*found, *get_close_matches(name, alike[:MOST_ALIKE], 3, 0.8))))[:3]


def _ambiguous(table: FunctionTable, name: str, rows: list[int]) -> str:
    places = []
    for row in rows[:SHOWN_INSTANCES]:
        module = table.module(row)
        address = "hidden" if table.is_zeroed else f"{table.addresses[row]:#x}"
        places.append(f"{address} [{module}]" if module else address)
    more = f" and {len(rows) - SHOWN_INSTANCES} more" if len(rows) > SHOWN_INSTANCES else ""
    return (
        f"{len(rows)} functions are called {name}: {', '.join(places)}{more}; give the address of the one you mean, "
        f"or the pattern '{name}*' for all of them"
    )


def resolve_addresses(table: FunctionTable, addresses: Sequence[int], *, unsafe: bool) -> FunctionSet:
    """Answer for each address: a symbol's, or that of ftrace's call in it."""
    answers = _Answers(table)
    known = _index(table) if len(addresses) >= MANY and not table.is_zeroed else {}
    if known and len(set(addresses)) == len(addresses):
        rows = list(map(known.get, addresses))
        if None not in rows and len(set(rows)) == len(rows):
            positions = array("I", range(len(rows)))
            return FunctionSet(table, array("I", rows), positions=positions, unsafe=unsafe)  # type: ignore[arg-type]
    for position, address in enumerate(addresses):
        row = known.get(address)
        if row is not None:
            answers.take(position, f"{address:#x}", row, 0)
        else:
            _answer_address(answers, position, f"{address:#x}", address)
    return answers.make(unsafe=unsafe)


def _index(table: FunctionTable) -> dict[int, int]:
    """Every address that means a function: its symbol's and that of ftrace's call in it."""
    n = table.n_distinct
    calls = map(int.__add__, table.addresses[:n], table.call_offsets[:n])
    return dict(zip(calls, range(n), strict=True)) | dict(zip(table.addresses[:n], range(n), strict=True))


def _answer_address(answers: _Answers, position: int, request: str, address: int) -> None:
    table = answers.table
    if table.is_zeroed:
        reason = (
            "the kernel hides its addresses from this user, so that none can be checked: run as root, or give names"
        )
        answers.refuse(request, "address_hidden", reason)
        return
    row = table.row_of_address(address)
    if row is None:
        row = table.row_around(address)
        if row is None or address - table.addresses[row] >= (table.size(row) or LONGEST_FUNCTION):
            reason = f"there is no function of the kernel at {address:#x}: take addresses from this boot's kallsyms"
            answers.refuse(request, "wrong_address", reason)
            return
        offset = address - table.addresses[row]
        if offset != table.call_offsets[row]:
            name = table.name(row)
            reason = (
                f"{address:#x} is inside the function {name}, which starts at {table.addresses[row]:#x}; "
                f"write {name}+{offset:#x} if you mean that place"
            )
            answers.refuse(request, "inside_function", reason)
            return
    answers.take(position, request, row, 0)

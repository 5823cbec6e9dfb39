"""Selects functions of a binary by names, globs and regular expressions. Pure but for the code that it is given.

A name selects all functions that have it: several static functions of one file may be called the same.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from multiprobe.binaries.boundaries import why_no_boundary
from multiprobe.binaries.demangling import INSTALL, load_demangler
from multiprobe.binaries.rules import NO_SYMBOLS, forbidding
from multiprobe.binaries.sets import UserFunctionSet
from multiprobe.binaries.usdt import UsdtProbeSet
from multiprobe.binaries.usdt_sites import SOURCE
from multiprobe.binaries.usdt_table import UsdtTable
from multiprobe.errors import PatternError
from multiprobe.functions.pattern import WILDCARDS, glob_to_regex
from multiprobe.functions.sets import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from multiprobe.binaries.table import UserTable

_OFFSET = re.compile(r"(?P<name>.+)\+(?P<offset>0x[0-9a-fA-F]+|[0-9]{1,20})", re.DOTALL)
MAX_OFFSET = 1 << 32
N_ALIKE, MOST_ALIKE = 3, 500
MOST_ADVICE = 20
"""So many unknown names get similar ones as advice: to find them takes milliseconds each."""


@dataclass(frozen=True, slots=True)
class UserPattern:
    """A parsed pattern: a name (and an offset from it in bytes), or a compiled expression."""

    text: str
    name: str
    expression: re.Pattern[str] | None = None
    is_exclusion: bool = False
    offset: int = 0


def parse_user_pattern(text: str) -> UserPattern:
    """Parse one pattern. Raises PatternError if it is invalid."""
    if not isinstance(text, str):
        raise PatternError(f"invalid pattern {text!r}: expected a text", pattern=str(text), hint="'PyObject_*'")
    rest = text.strip()
    is_exclusion = rest.startswith("!")
    rest = rest[1:].strip() if is_exclusion else rest
    if not rest:
        raise PatternError(f"invalid pattern {text!r}: it has no name", pattern=text, hint="write NAME, 'Py*' or '*'")
    if len(rest) > 2 and rest.startswith("/") and rest.endswith("/"):
        return UserPattern(text, rest, _compile(rest[1:-1], text), is_exclusion)
    if not WILDCARDS.isdisjoint(rest):
        return UserPattern(text, rest, _compile(glob_to_regex(rest), text), is_exclusion)
    found = _OFFSET.fullmatch(rest)
    if found is None:
        return UserPattern(text, rest, None, is_exclusion)
    offset = int(found["offset"], 0 if found["offset"].startswith("0x") else 10)
    if offset >= MAX_OFFSET:
        raise PatternError(f"invalid offset in {text!r}: no function is that long", pattern=text, hint="NAME+0x10")
    return UserPattern(text, found["name"], None, is_exclusion, offset)


def _compile(expression: str, text: str) -> re.Pattern[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # sets like [[a] keep their meaning here
            return re.compile(expression, re.DOTALL)
    except (re.error, OverflowError, RecursionError) as error:
        raise PatternError(
            f"invalid regular expression in {text!r}: {error}", pattern=text, hint="see the syntax of Python's re"
        ) from error


def choose(table: UserTable, texts: Sequence[str], *, code_of: Callable[[int], bytes]) -> UserFunctionSet:
    """The functions that the patterns select. `code_of` gives the bytes of the function in a row."""
    parsed = [parse_user_pattern(text) for text in texts]
    wanted = [pattern for pattern in parsed if not pattern.is_exclusion]
    chosen = _Chosen(table, code_of)
    if not len(table):
        chosen.refuse(" ".join(texts) or "*", *why_empty(table))
        return chosen.make(set(), in_request_order=True)
    if not wanted:
        chosen.add(range(len(table)))
    for pattern in wanted:
        chosen.take(pattern)
    excluded = {int(table.originals[row]) for one in parsed if one.is_exclusion for row in _matching(table, one)}
    return chosen.make(
        excluded, in_request_order=all(pattern.expression is None for pattern in wanted) and bool(wanted)
    )


def _matching(table: UserTable, pattern: UserPattern) -> Sequence[int]:
    if pattern.expression is None:
        return table.rows_named(pattern.name)
    if pattern.name == "*":
        return range(len(table))
    fits = pattern.expression.fullmatch
    rows = [row for row, name in enumerate(table.names) if fits(name)]
    is_glob = not pattern.name.startswith("/")
    demangled = table.rows_demangled(pattern.name if is_glob else "", fits)
    return sorted({*rows, *demangled}) if demangled else rows


class _Chosen:
    """Functions and refusals, gathered one request at a time; each function once, under the first name that fits."""

    def __init__(self, table: UserTable, code_of: Callable[[int], bytes]) -> None:
        self._table = table
        self._originals = table.originals.tolist()
        self._code_of = code_of
        self._places: dict[tuple[int, int], tuple[int, int]] = {}
        self._unresolved: list[Refusal] = []

    def add(self, rows: Iterable[int], offset: int = 0) -> None:
        for row in rows:
            self._places.setdefault((self._originals[row], offset), (row, offset))

    def refuse(self, request: str, code: str, reason: str) -> None:
        self._unresolved.append(Refusal(request, code, reason))

    def take(self, pattern: UserPattern) -> None:
        rows = _matching(self._table, pattern)
        if not rows and pattern.expression is None:
            is_alone = len(self._unresolved) < MOST_ADVICE
            self.refuse(pattern.text, *_why_unknown(self._table, pattern.name, with_advice=is_alone))
        if not pattern.offset:
            self.add(rows)
            return
        for row in rows:
            code, reason = self._why_not_inside(row, pattern)
            if code:
                self.refuse(pattern.text, code, reason)
            else:
                self.add([row], pattern.offset)

    def _why_not_inside(self, row: int, pattern: UserPattern) -> tuple[str, str]:
        size = int(self._table.sizes[row])
        if pattern.offset >= size:
            reason = f"{pattern.name} is {size} bytes long, so that +{pattern.offset:#x} lies outside of it"
            return "wrong_offset", reason
        if int(self._table.facts[row]) & forbidding(when="entry"):
            return "", ""  # refused as a whole
        return why_no_boundary(self._code_of(row), pattern.offset, pattern.name)

    def make(self, excluded: set[int], *, in_request_order: bool) -> UserFunctionSet:
        places = [place for key, place in self._places.items() if key[0] not in excluded]
        kind = UsdtProbeSet if isinstance(self._table, UsdtTable) else UserFunctionSet
        return kind(self._table, places if in_request_order else sorted(places), unresolved=tuple(self._unresolved))


def _why_unknown(table: UserTable, name: str, *, with_advice: bool) -> tuple[str, str]:
    """Why no function has this name: code and reason."""
    if name in table.imported:
        return "imported", f"{name} is not in {table.path}, which takes it from a library: ask for it there"
    if "::" in name and table.has_mangled and load_demangler() is None:
        return "not_demangled", f"{name} is no symbol of {table.path}, and names can't be demangled: {INSTALL}"
    names = table.names if with_advice else []
    if "::" in name:
        names = [one.name for one in map(table.demangle, names) if one]
    alike = [other for other in names if other[:N_ALIKE] == name[:N_ALIKE]][:MOST_ALIKE]
    near = list(dict.fromkeys(get_close_matches(name, alike, 3, 0.8)))
    advice = f"; there is {', '.join(near)}" if near else ""
    why = "" if isinstance(table, UsdtTable) else ": it may have been inlined or stripped"
    return "unknown_name", f"no {table.kind} of {table.path} is called {name}{why}{advice}"


def why_empty(table: UserTable) -> tuple[str, str]:
    """Why a binary has no functions, or no USDT probes: code and reason."""
    if isinstance(table, UsdtTable):
        return "no_usdt", f"{table.path} has no USDT probes (no section {SOURCE})"
    where = f" (build id {table.build_id})" if table.build_id else ""
    return NO_SYMBOLS, (
        f"{table.path} has no symbols of functions{where}: it was stripped or packed, and no debug file of it is "
        "installed"
    )

"""Parses function patterns, and matches them against the function table.

Patterns are globs (`tcp_*`), regular expressions (`/tcp_v[46]_.*/`), modules (`nf_*:nf_ct_*`, `vmlinux:*`), system
calls (`syscall:openat`, `syscall:*`), exclusions (`!*_init`), exact symbols, addresses (`0xffffffff81000000`) and
offsets (`vfs_read+0x10`). Functions that can't be attached match too. `parse_pattern` and `match` are pure.
"""

from __future__ import annotations

import re
import warnings
from array import array
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import compress
from typing import TYPE_CHECKING

from multiprobe.errors import PatternError
from multiprobe.functions import notations

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from multiprobe.functions.table import FunctionTable

SYMBOL, ADDRESS, GLOB, REGEX = "symbol", "address", "glob", "regex"
WILDCARDS = frozenset("*?[")
VMLINUX = "vmlinux"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A parsed pattern. `module` is a glob or ""; `offset` in bytes from the symbol; `address` for ADDRESS."""

    text: str
    kind: str
    name: str
    module: str = ""
    is_exclusion: bool = False
    offset: int = 0
    address: int = 0

    @property
    def names_one(self) -> bool:
        """Whether the pattern selects exactly one function (a symbol, an address)."""
        return self.kind in (SYMBOL, ADDRESS)


def parse_pattern(text: str) -> Pattern:
    """Parse one pattern. Raises PatternError if it is invalid."""
    if not isinstance(text, str):
        raise PatternError(
            f"invalid pattern {text!r}: expected a text", pattern=str(text), hint="kernel.functions('tcp_*')"
        )
    rest = text.strip()
    is_exclusion = rest.startswith("!")
    rest = rest[1:].strip() if is_exclusion else rest
    module = ""
    if not rest.startswith("/") and ":" in rest:
        module, _, rest = rest.partition(":")
        if not module:
            raise PatternError(
                f"invalid pattern {text!r}: no module before the colon",
                pattern=text,
                hint=notations.NO_SOURCES if "/" in rest else "write vmlinux:NAME",
            )
        notations.refuse_other_notations(text, module, rest)
    if not rest:
        raise PatternError(f"invalid pattern {text!r}: it has no name", pattern=text, hint="write NAME, 'tcp_*' or '*'")
    if rest.startswith("/"):
        return _parse_regex(text, rest, module, is_exclusion=is_exclusion)
    if not rest.isascii() or any(char.isspace() for char in rest):
        raise PatternError(
            f"invalid pattern {text!r}: names of functions have no spaces, only ASCII",
            pattern=text,
            hint=notations.hint_on_spaces(text),
        )
    notations.refuse_no_name(text, rest)
    if module == notations.SYSTEM_CALL:
        module, rest = "", notations.system_call_function(rest)
    if rest[:2].lower() == "0x":
        address = _number(rest, text)
        return Pattern(text, ADDRESS, rest, module, is_exclusion, 0, address)
    if WILDCARDS.isdisjoint(rest):
        name, plus, offset = rest.partition("+")
        return Pattern(text, SYMBOL, name, module, is_exclusion, _number(offset, text) if plus else 0)
    if "[" in rest:
        _compile(glob_to_regex(rest), text)
    return Pattern(text, GLOB, rest, module, is_exclusion)


def _parse_regex(text: str, rest: str, module: str, *, is_exclusion: bool) -> Pattern:
    if not rest.endswith("/") and "/" in rest[1:]:
        notations.refuse_user_space(text)
    if len(rest) < 3 or not rest.endswith("/"):
        raise PatternError(
            f"invalid pattern {text!r}: the regular expression does not end in a slash",
            pattern=text,
            hint="put it between slashes: '/tcp_v[46]_.*/'",
        )
    if module == notations.SYSTEM_CALL:
        module, rest = "", f"/{re.escape(notations.system_call_function(''))}(?:{rest[1:-1]})/"
    _compile(rest[1:-1], text)
    return Pattern(text, REGEX, rest[1:-1], module, is_exclusion)


def _number(digits: str, text: str) -> int:
    try:
        number = int(digits, 0)
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 64:
        raise PatternError(
            f"invalid number {digits!r} in {text!r}: expected 0 to 2⁶⁴ − 1",
            pattern=text,
            hint="write 0xffffffff81234560 or NAME+0x10",
        )
    return number


def _compile(expression: str, text: str):  # type: ignore[no-untyped-def]  # re.Pattern, without importing re
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # sets like [[a] keep their meaning here
            return re.compile(expression.encode("ascii", "backslashreplace"))
    except re.error as error:
        raise PatternError(
            f"invalid regular expression in {text!r}: {error}", pattern=text, hint="see the syntax of Python's re"
        ) from error


def glob_to_regex(glob: str) -> str:
    """A glob as a regular expression: `*`, `?`, `[abc]`, `[!abc]` and `[^abc]`; other characters match themselves."""
    parts = []
    position = 0
    while position < len(glob):
        char = glob[position]
        end = glob.find("]", position + 2) if char == "[" else -1
        if char == "[" and end > 0:
            inside = glob[position + 1 : end].replace("\\", "\\\\")
            inside = "^" + inside[1:] if inside[0] in "!^" else inside
            parts.append(f"[{inside}]")
            position = end
        else:
            parts.append({"*": ".*", "?": "."}.get(char) or re.escape(char))
        position += 1
    return "".join(parts)


def match(table: FunctionTable, pattern: Pattern) -> Sequence[int]:
    """The rows that a pattern matches, in row order."""
    if pattern.kind == ADDRESS:
        row = table.row_of_address(pattern.address)
        rows: Sequence[int] = [] if row is None else [row]
    elif pattern.kind == SYMBOL:
        rows = table.rows_of_name(pattern.name)
    elif pattern.kind == REGEX:
        rows = _match_regex(table, pattern.name, pattern.text)
    else:
        rows = match_glob(table, pattern.name, pattern.text)
    return in_modules(table, rows, pattern.module) if pattern.module else rows


def match_glob(table: FunctionTable, glob: str, text: str = "") -> Sequence[int]:
    """The rows whose names match a glob, in row order, without a regular expression where that is possible."""
    if "?" in glob or "[" in glob:
        return _match_regex(table, glob_to_regex(glob), text or glob, prefix=_literal_prefix(glob))
    first, *middle, last = [part.encode() for part in glob.split("*")]
    if not first and not last and not any(middle):
        return range(table.n)
    if first:
        rows = table.rows_of_prefix(first)
        if not last and not any(middle):
            return rows
    else:
        longest = max((*middle, last), key=len)
        rows = _rows_containing(table, longest)
    shortest = len(first) + len(last)
    return [row for row in rows if _fits(table.raw_name(row), first, middle, last, shortest)]


def _literal_prefix(glob: str) -> bytes:
    """The prefix of all names that match the glob."""
    for position, char in enumerate(glob):
        if char in WILDCARDS:
            return glob[:position].encode()
    return glob.encode()


def _fits(name: bytes, first: bytes, middle: list[bytes], last: bytes, shortest: int) -> bool:
    """Whether a name consists of `first`, the middle parts in order, and `last`, with anything between."""
    if len(name) < shortest or not name.startswith(first) or not name.endswith(last):
        return False
    position, end = len(first), len(name) - len(last)
    for part in middle:
        position = name.find(part, position, end)
        if position < 0:
            return False
        position += len(part)
    return True


def _rows_containing(table: FunctionTable, part: bytes) -> list[int]:
    """The rows whose names contain `part`, in row order."""
    names, rows = table.names, []
    position = names.find(part)
    while position >= 0:
        row = table.row_at_offset(position)
        rows.append(row)
        position = names.find(part, table.name_offsets[row + 1])
    return rows


def _match_regex(table: FunctionTable, expression: str, text: str, *, prefix: bytes = b"") -> Sequence[int]:
    """The rows whose whole names match a regular expression."""
    fullmatch = _compile(expression, text).fullmatch
    if prefix:
        return [row for row in table.rows_of_prefix(prefix) if fullmatch(table.raw_name(row))]
    return list(compress(range(table.n), map(fullmatch, table.all_names())))


def in_modules(table: FunctionTable, rows: Iterable[int], module: str) -> list[int]:
    """The rows of functions in modules that match the glob `module` ("vmlinux" is the kernel itself)."""
    wanted = {index for index, name in enumerate(table.module_names) if fnmatchcase(name or VMLINUX, module)}
    modules = table.modules
    return [row for row in rows if modules[row] in wanted]


def in_order(table: FunctionTable, rows: Iterable[int]) -> array[int]:
    """Each function among `rows` once, sorted by address; of several names of one function the first is kept."""
    if isinstance(rows, range):
        return array("I", rows if rows.stop <= table.n_distinct else range(table.n_distinct))
    ordered = array("I", sorted(rows))
    if table.n_distinct == table.n or not ordered or ordered[-1] < table.n_distinct:
        return ordered
    kept = without_aliases(table, ordered)
    return array("I", sorted(kept, key=table.addresses.__getitem__))


def without_aliases(table: FunctionTable, rows: Iterable[int]) -> array[int]:
    """`rows` in order, without further names of a function that is among them already."""
    rows = array("I", rows)
    if max(rows, default=0) < table.n_distinct:
        return rows
    seen: set[int] = set()
    kept = array("I")
    for row, original in zip(rows, table.distinct_rows(rows), strict=True):
        if original not in seen:
            seen.add(original)
            kept.append(row)
    return kept

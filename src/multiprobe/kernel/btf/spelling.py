"""Parses C spellings of types ("const struct sock *", "unsigned long"), and normalises the names of integers.

Which BTF types a spelling matches is found by `matching`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from multiprobe.errors import UsageError
from multiprobe.kernel.btf import format as fmt

QUALIFIER_BITS = {"const": 1, "volatile": 2, "restrict": 4}
KIND_BITS = {fmt.CONST: 1, fmt.VOLATILE: 2, fmt.RESTRICT: 4}
TAGGED = {"struct": (fmt.STRUCT, fmt.FWD), "union": (fmt.UNION, fmt.FWD), "enum": (fmt.ENUM, fmt.ENUM64)}
NAMED = (fmt.INT, fmt.TYPEDEF, fmt.FLOAT)
INTEGER_WORDS = frozenset(("signed", "unsigned", "char", "short", "int", "long", "__int128"))
TOKEN = re.compile(r"\s*(?:([A-Za-z_]\w*)|(\*))")


def integer_name(name: str) -> str:
    """One name for all the ways in which C lets an integer type be written: `long unsigned int`, `unsigned long`."""
    words = name.split()
    if not words or not INTEGER_WORDS.issuperset(words):
        return name
    sizes = [word for word in words if word in ("char", "short", "long", "__int128")]
    sign = "unsigned " if "unsigned" in words else "signed " if "signed" in words and "char" in words else ""
    return sign + (" ".join(sizes) or "int")


class Spelled(NamedTuple):
    """A type that was spelled: its innermost type, and the qualifiers (bits) of it and of each pointer around it."""

    kinds: tuple[int, ...]
    name: str
    qualifiers: tuple[int, ...]


def parse_spelling(text: str) -> Spelled:
    """Read `struct sock *`, `const char *`, `unsigned long`, `u64`, `void **`. `UsageError` if it can't be read."""
    words: list[str] = []
    qualifiers = [0]
    rest = text.strip()
    at = 0
    while at < len(rest):
        token = TOKEN.match(rest, at)
        if token is None:
            raise _unreadable(text)
        at = token.end()
        word = token.group(1)
        if word is None:
            qualifiers.append(0)
        elif word in QUALIFIER_BITS:
            qualifiers[-1] |= QUALIFIER_BITS[word]
        elif len(qualifiers) > 1:
            raise _unreadable(text)
        else:
            words.append(word)
    if len(words) == 2 and words[0] in TAGGED:
        return Spelled(TAGGED[words[0]], words[1], tuple(qualifiers))
    name = integer_name(" ".join(words))
    if not words or words[0] in TAGGED or (len(words) > 1 and not INTEGER_WORDS.issuperset(words)):
        raise _unreadable(text)
    return Spelled((fmt.VOID,) if name == "void" else NAMED, name, tuple(qualifiers))


def _unreadable(text: str) -> UsageError:
    return UsageError(
        f"{text!r} is no type that can be searched for",
        hint="write it as in C, without a name: 'struct sk_buff *', 'const char *', 'unsigned long', 'gfp_t'",
    )

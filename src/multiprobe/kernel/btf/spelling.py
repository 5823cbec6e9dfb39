"""C's spelling of types: from a BTF type to text, and from text to what it says of a type.

Knows declarators, qualifiers and the many names of C's integers. Nothing of files or of functions to be probed; which
types a spelling means is found by `btf_matching`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.errors import DataError, UsageError
from multiprobe.kernel.btf import format as fmt

if TYPE_CHECKING:
    from multiprobe.kernel.btf.types import Btf

MAX_STEPS = 2000  # of one declaration: far beyond any in a kernel, and a bound for hostile files
QUALIFIER_BITS = {"const": 1, "volatile": 2, "restrict": 4}
KIND_BITS = {fmt.CONST: 1, fmt.VOLATILE: 2, fmt.RESTRICT: 4}
QUALIFIER_WORDS = {fmt.CONST: "const", fmt.VOLATILE: "volatile", fmt.RESTRICT: "restrict"}
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


def declare(btf: Btf, type_id: int, declarator: str = "") -> str:
    """The declaration of `declarator` as having this type; without one, the type's name."""
    return _Speller(btf).declare(type_id, declarator)


class _Speller:
    """Spells one declaration, and gives up when a hostile file makes it endless."""

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._steps = 0
        self._depth = 0

    def declare(self, type_id: int, inner: str) -> str:
        """Wrap `inner` in what the types on the way to the innermost one add."""
        btf = self._btf
        prefix = ""
        while True:
            self._steps += 1
            if self._steps > MAX_STEPS:
                raise DataError(f"BTF type {type_id}: a declaration without end")
            kind = btf.kind(type_id)
            if kind == fmt.PTR:
                inner = f"*{inner}"
                if self._binds_tighter(btf.target(type_id)):
                    inner = f"({inner})"
            elif kind in QUALIFIER_WORDS:
                if self._is_pointer(btf.target(type_id)):
                    inner = f"{QUALIFIER_WORDS[kind]} {inner}".rstrip()
                else:
                    prefix += f"{QUALIFIER_WORDS[kind]} "
            elif kind == fmt.ARRAY:
                element, count = btf.array(type_id)
                inner = f"{inner}[{count}]"
                type_id = element
                continue
            elif kind == fmt.FUNC_PROTO:
                inner = f"{inner}({self._parameters(type_id)})"
            elif kind != fmt.TYPE_TAG:
                return f"{prefix}{self._base(type_id, kind)} {inner}".rstrip()
            type_id = btf.target(type_id)

    def _parameters(self, type_id: int) -> str:
        self._depth += 1
        if self._depth > fmt.MAX_DEPTH:
            raise DataError(f"BTF type {type_id}: a declaration without end")
        params = self._btf.parameters(type_id)
        texts = [self.declare(param.type_id, param.name) for param in params]
        if params and params[-1].type_id == 0:
            texts[-1] = "..."
        self._depth -= 1
        return ", ".join(texts) or "void"

    def _base(self, type_id: int, kind: int) -> str:
        name = self._btf.name(type_id)
        if kind == fmt.VOID:
            return "void"
        if kind in NAMED:
            return integer_name(name)
        if kind == fmt.FWD:
            owner, row = self._btf.owner(type_id)
            return f"{'union' if owner.flags[row] else 'struct'} {name}"
        if kind in (fmt.STRUCT, fmt.UNION, fmt.ENUM, fmt.ENUM64):
            word = "enum" if kind == fmt.ENUM64 else fmt.KIND_NAMES[kind]
            return f"{word} {name}" if name else f"{word} {{...}}"
        raise DataError(f"BTF type {type_id} is a {fmt.KIND_NAMES[kind] if kind < 20 else kind}: no C type")

    def _binds_tighter(self, type_id: int) -> bool:
        return self._behind_qualifiers(type_id) in (fmt.ARRAY, fmt.FUNC_PROTO)

    def _is_pointer(self, type_id: int) -> bool:
        return self._behind_qualifiers(type_id) == fmt.PTR

    def _behind_qualifiers(self, type_id: int) -> int:
        """The kind of the type behind qualifiers and tags (not behind typedefs)."""
        for _ in range(MAX_STEPS):
            kind = self._btf.kind(type_id)
            if kind not in fmt.QUALIFIERS:
                return kind
            type_id = self._btf.target(type_id)
        raise DataError(f"BTF type {type_id}: a circle of qualifiers")


@dataclass(frozen=True, slots=True)
class Spelled:
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

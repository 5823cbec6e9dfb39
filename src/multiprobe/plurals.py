"""Numbers with their nouns, as sentences have them: `1 call`, `2 calls`."""

from __future__ import annotations


def plural_text(n: int, noun: str) -> str:
    """The number and the noun; `noun` is the singular."""
    return f"{n:,} {noun}{'' if n == 1 else 'es' if noun.endswith('s') else 's'}"


def counted_text(n: int, nouns: str) -> str:
    """The same from the plural, or from what has none: `1 link miss`, `2 link misses`, `1 out of range`."""
    return f"{n:,} {_singular(nouns) if n == 1 else nouns}"


def _singular(nouns: str) -> str:
    for ending, one in (("sses", "ss"), ("ies", "y"), ("s", "")):
        if nouns.endswith(ending):
            return nouns.removesuffix(ending) + one
    return nouns

"""What all SVG files here share: text that XML can hold. Knows XML, no picture."""

from __future__ import annotations

from html import escape


def xml_text(text: str) -> str:
    """`text` for an element or a quoted attribute; characters that XML can't hold become question marks."""
    return escape("".join(letter if _is_allowed(letter) else "?" for letter in text))


def _is_allowed(letter: str) -> bool:
    return letter >= " " and not 0xD800 <= ord(letter) < 0xE000 and letter not in "\ufffe\uffff"

"""Names that any user can give to a process or a file, and what a harmless output may contain."""

from __future__ import annotations

NASTY: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xfe", r"\xff\xfe"),
    (b"caf\xc3\xa9\xe9", "café\\xe9"),
    (b"a\rb", r"a\rb"),
    (b"a\nb,c", r"a\nb,c"),
    (b'"q",;', '"q",;'),
    (b"\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
    (b"\x1b]0;title\x07", r"\x1b]0;title\x07"),
    (b"\xc2\x9b31m", r"\u009b31m"),
    (b"\xe2\x80\xaeevil", r"\u202eevil"),
    (b"\x7f\x08\x08", r"\x7f\x08\x08"),
    (b"<b>&amp;</b>", "<b>&amp;</b>"),
    (b"\xed\xa0\x80", r"\xed\xa0\x80"),
    (b"\xf3\xa0\x80\x81tag", r"\U000e0001tag"),
    (b"\xf0\x9f\x98\x80", "\U0001f600"),
    (b"%s{0}\\", "%s{0}\\"),
    (b"   ", "   "),
)
"""Pairs of a name (at most 15 bytes, as of a process) and its spelling in text."""


def assert_harmless(data: bytes) -> str:
    """Output is UTF-8, and has no control character but line feeds; returns it as text."""
    text = data.decode("utf-8")
    bad = {letter for letter in text if not (letter.isprintable() or letter == "\n")}
    assert not bad, bad
    return text

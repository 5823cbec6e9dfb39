"""The parts that all SVG pictures have: texts that XML can hold, the head of the file, styles and scripts."""

from __future__ import annotations

import os
from html import escape

from multiprobe.names import printable


def xml_text(text: str) -> str:
    """`text` for an element or a quoted attribute; characters that XML can't hold are spelled by escapes."""
    return escape(printable(text))


def load(name: str) -> str:
    """A style sheet or script of this package."""
    with open(os.path.join(os.path.dirname(__file__), name), encoding="utf-8") as file:
        return file.read()


def opening(title: str, *, width: int, height: int, style: str) -> str:
    """The file as far as its background."""
    return f"""\
<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">
<title>{xml_text(title)}</title>
<style>
{style}</style>
<rect class="bg" data-whole="" width="{width}" height="{height}" fill="#fff"/>"""


def heading(title: str, subtitle: str, *, left: int, most: int) -> str:
    """The two lines of heading, which begin at `left`; of the title, as many letters as fit.

    Scripts find the whole texts, and about how wide a letter is, beside them.
    """
    shown = title if len(title) <= most else title[: most - 1] + "…"
    return f"""\
<text class="h" x="{left}" y="22" data-text="{xml_text(title)}" data-advance="9">{xml_text(shown)}</text>
<text class="s" x="{left}" y="40" data-text="{xml_text(subtitle)}" data-advance="7">{xml_text(subtitle)}</text>"""

"""How values of several parts are written on a line: structs in braces, arrays in brackets."""

from __future__ import annotations


def spell(item: object) -> str:
    """A value as text: `{name="x", pos={start=0}, list=[1, 2]}`; what isn't a mapping or a list as it is."""
    if isinstance(item, dict):
        return "{" + ", ".join([f"{name}={spell(part)}" for name, part in item.items()]) + "}"
    if isinstance(item, list):
        return "[" + ", ".join(map(spell, item)) + "]"
    return str(item)

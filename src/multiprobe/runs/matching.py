"""Matches functions of two kernels by name: compilers add suffixes to functions whose arguments they changed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Label = tuple[str, str]

_SUFFIX = re.compile(r"(?:\.(?:isra|constprop|lto_priv|llvm)(?:\.\d+)*)+(?=$| \[)")
"""Of functions that do the whole work of their source; `.part` and `.cold` are parts of one."""


def base_name(name: str) -> str:
    """A name without the suffixes of a compiler: `foo` for `foo.isra.0`, `foo [m]` for `foo.constprop.0 [m]`."""
    return _SUFFIX.sub("", name) if "." in name else name


def match(before: Iterable[Label], after: Iterable[Label]) -> dict[Label, Label]:
    """The common label of functions that have another suffix, or other ones, on the other side.

    before, after: (module, name) of all attached functions; those that are not in the result keep their label
    """
    sides = _grouped(before), _grouped(after)
    found: dict[Label, Label] = {}
    for base in sides[0].keys() & sides[1].keys():
        if sides[0][base] != sides[1][base]:
            found |= dict.fromkeys(sides[0][base] | sides[1][base], base)
    return found


def _grouped(labels: Iterable[Label]) -> Mapping[Label, set[Label]]:
    groups: dict[Label, set[Label]] = {}
    for module, name in labels:
        groups.setdefault((module, base_name(name)), set()).add((module, name))
    return groups

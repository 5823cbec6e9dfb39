"""The four ways to put a program on a kernel function, as bits of a mask.

Knows their names and nothing of when each one works: that is `functions.verdict` (for a function) and
`kernel.features` (for a kernel). Plain integers, because `enum` costs more to import than all of this package.
"""

from __future__ import annotations

from multiprobe.errors import UsageError


class Mechanism:
    """One bit for each mechanism; `ALL` is their sum."""

    TRACING_MULTI = 1
    KPROBE_MULTI = 2
    TRAMPOLINE = 4
    KPROBE = 8
    ALL = 15


NAMES = {
    Mechanism.TRACING_MULTI: "tracing_multi",
    Mechanism.KPROBE_MULTI: "kprobe_multi",
    Mechanism.TRAMPOLINE: "trampoline",
    Mechanism.KPROBE: "kprobe",
}
BITS = {name: bit for bit, name in NAMES.items()}


def mechanism_names(mask: int) -> list[str]:
    """The names of the mechanisms in `mask`."""
    return [name for bit, name in NAMES.items() if mask & bit]


def mechanism_bit(name: str) -> int:
    """The bit of the mechanism called `name`; `UsageError` lists the names there are."""
    bit = BITS.get(name)
    if bit is None:
        raise UsageError(f"there is no mechanism {name!r}", hint=f"choose one of {', '.join(BITS)}")
    return bit

"""The mechanisms that attach a program to a function of the kernel or of a binary, as flags that combine to masks.

What a function can be attached by is decided by `functions.verdict`; what a kernel has is found by `kernel.features`.
"""

from __future__ import annotations

from enum import IntFlag

from multiprobe.errors import UsageError


class Mechanism(IntFlag):
    """A mechanism that attaches programs to functions, or a mask of several, which iterates over its members.

    TRACING_MULTI and KPROBE_MULTI attach many functions of the kernel by one link, TRAMPOLINE and KPROBE one each;
    UPROBE_MULTI attaches many functions of one binary by one link. KERNEL: all those for functions of the kernel.
    """

    NONE = 0
    TRACING_MULTI = 1
    KPROBE_MULTI = 2
    TRAMPOLINE = 4
    KPROBE = 8
    UPROBE_MULTI = 16
    KERNEL = 15
    ALL = 31

    @property
    def label(self) -> str:
        """The name as users write it ("kprobe_multi"); of a mask, all names."""
        return ", ".join(mechanism_names(self))

    @property
    def is_single(self) -> bool:
        """Whether every function needs a link of its own."""
        return bool(self & (Mechanism.TRAMPOLINE | Mechanism.KPROBE))


#: The mechanisms by the names that users write.
MECHANISMS: dict[str, Mechanism] = {str(one.name).lower(): one for one in Mechanism}


def mechanism_names(mask: int) -> list[str]:
    """The names of the mechanisms in `mask`."""
    return [name for name, mechanism in MECHANISMS.items() if mask & mechanism.value]


def parse_mechanism(name: str) -> Mechanism:
    """The mechanism called `name`. Raises UsageError for an unknown name."""
    found = MECHANISMS.get(name) if isinstance(name, str) else None
    if found is None:
        raise UsageError(f"unknown mechanism {name!r}", hint=f"choose one of {', '.join(MECHANISMS)}")
    return found

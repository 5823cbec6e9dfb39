"""Which mechanisms an attachment may use: what the user allows, as one value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.errors import UsageError
from multiprobe.kernel.mechanism import MECHANISMS, Mechanism, parse_mechanism

if TYPE_CHECKING:
    Names = str | Mechanism | Iterable[str | Mechanism]
    """One mechanism, or several."""

MAX_SINGLES = 1000
"""Each function that is attached one by one needs links of its own, and time to detach."""
FSESSION = "fsession"
"""Excludes the kernel's own sessions on single trampolines: a session is an fentry and an fexit program then."""


@dataclass(frozen=True, slots=True)
class Mechanisms:
    """The mechanisms that `mp.attach` may use.

    only: one or several, by name; None allows all
    without: those that are excluded, by name; "fsession" excludes sessions that are a single trampoline program
    max_singles: how many functions may be attached one by one (by trampoline or kprobe); 0 sets no limit

    Raises UsageError for an unknown name, and when no mechanism is left.
    """

    only: Names | None = None
    without: Names = ()
    max_singles: int = MAX_SINGLES

    def __post_init__(self) -> None:
        if isinstance(self.max_singles, bool) or not isinstance(self.max_singles, int) or self.max_singles < 0:
            raise UsageError(f"invalid max_singles={self.max_singles!r}: expected a number of functions, or 0")
        if not self.allowed:
            raise UsageError("no mechanism is left to attach with", hint=f"the mechanisms are {', '.join(MECHANISMS)}")

    @classmethod
    def of(cls, given: Mechanisms | Names | None) -> Mechanisms:
        """`given` itself, or a Mechanisms with `only=given`. Raises UsageError for an unknown name."""
        return given if isinstance(given, Mechanisms) else cls(only=given)

    @property
    def allowed(self) -> Mechanism:
        """The mask of the allowed mechanisms."""
        chosen = Mechanism.ALL if self.only is None else _mask(_names(self.only))
        return chosen & ~_mask(name for name in _names(self.without) if name != FSESSION)

    @property
    def has_fsession(self) -> bool:
        """Whether a session may be a single trampoline program."""
        return FSESSION not in _names(self.without)


def _names(given: Names) -> list[str | Mechanism]:
    if isinstance(given, str | Mechanism):
        return [given]
    if not isinstance(given, Iterable):
        raise UsageError(f"invalid mechanisms {given!r}: expected a name or a list of {', '.join(MECHANISMS)}")
    return list(given)


def _mask(given: Iterable[str | Mechanism]) -> Mechanism:
    mask = Mechanism.NONE
    for one in given:
        mask |= one if isinstance(one, Mechanism) else parse_mechanism(one)
    return mask

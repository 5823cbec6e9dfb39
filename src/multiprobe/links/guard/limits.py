"""What an attachment may cost the machine: a budget, care while attaching, a watchdog."""

from __future__ import annotations

from dataclasses import dataclass

from multiprobe.errors import UsageError

MAX_MEMORY = 0.25
"""Part of the available memory that the kernel may take for an attachment, unless the user says otherwise."""
SHORTEST_WATCHDOG = 0.5
"""Seconds. A shorter silence is normal on a busy machine."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that `mp.attach` keeps an attachment within.

    budget: the part of CPU time that all probes may use (0.05 is 5 %); above it, the hottest functions are detached
    careful: attach in growing waves, and detach the last wave if the machine's wake-up latency rises
    watchdog: seconds without a sign of life after which another process kills this one, so that the kernel detaches;
        None or 0: no watchdog
    max_memory: the part of the available memory (MemAvailable) that the kernel may need for links; a plan that
        needs more is refused. 0: no limit

    Raises UsageError for a value out of range.
    """

    budget: float | None = None
    careful: bool = False
    watchdog: float | None = None
    max_memory: float = MAX_MEMORY

    def __post_init__(self) -> None:
        budget, watchdog = self.budget, self.watchdog
        if budget is not None and (not _is_number(budget) or not 0 < budget < 1):
            raise UsageError(f"invalid budget={budget!r}: expected a part of CPU time", hint="0.05 is five per cent")
        if not isinstance(self.careful, bool):
            raise UsageError(f"invalid careful={self.careful!r}: expected True or False")
        if watchdog and (not _is_number(watchdog) or watchdog < SHORTEST_WATCHDOG):
            raise UsageError(
                f"invalid watchdog={watchdog!r}: expected at least {SHORTEST_WATCHDOG} seconds",
                hint="a shorter silence is normal on a busy machine",
            )

        if not _is_number(self.max_memory) or not 0 <= self.max_memory <= 1:
            raise UsageError(
                f"invalid max_memory={self.max_memory!r}: expected a part of the available memory",
                hint="0.5 is 50 per cent, 0 no limit",
            )

    @property
    def is_guarded(self) -> bool:
        """Whether functions may be detached while the rest stays attached."""
        return self.budget is not None or self.careful


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

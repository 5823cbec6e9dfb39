"""What is known to be missing from a result, cause by cause, each with a sentence of what that means. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprobe.links.report import Report


@dataclass(frozen=True, slots=True)
class Gap:
    """`n` of something is missing: `cause` for programs, `meaning` for people."""

    cause: str
    n: int
    meaning: str

    def __str__(self) -> str:
        return f"{self.n:,} {self.cause.replace('_', ' ')}"


MEANINGS = {
    "link_misses": "calls that the kernel did not hand over, because another probe was running on that CPU",
    "recursion_misses": "hits without a run, because a program was running on that CPU already: mostly functions that "
    "probes call themselves",
    "full_maps": "updates that found no room in a hash map: give it more max_entries",
    "dropped_events": "events that found no room in their ring buffer: give it a larger size, or read more often",
    "stack_collisions": "stacks that met another one in their place: give the map more max_entries",
    "failed_stacks": "stacks that the kernel could not take",
    "out_of_range": "writes outside of an array",
    "failed_reads": "reads of memory that the kernel could not do: the program saw zeros",
    "cut_loops": "loops that ended at their limit: raise loop_limit",
    "unpaired_entries": "calls whose entry was seen and whose return was not",
    "unpaired_returns": "returns of calls whose entry was not seen: they had begun before",
    "unknown_function": "hits booked on no attached function: a defect of multiprobe, please report it",
    "skipped": "functions asked for that were not attached, each with its reason",
    "failed": "functions that the kernel refused, each with its errno",
    "dropped": "functions detached before the end: what they counted until then stays",
    "unverified": "known calls that were not found again in the counts",
}
"""By cause. What an instrument adds to `missed` without a word here is told without one."""


def gaps(report: Report) -> list[Gap]:
    """All that is known to be missing, in the order of MEANINGS; nothing when nothing is."""
    counts = {cause: n for cause, n in report.missed.items() if n}
    counts |= {"skipped": len(report.skipped), "failed": len(report.failed), "dropped": len(report.dropped)}
    counts["unverified"] = sum(one.made - one.found for one in report.verified)
    order = {cause: place for place, cause in enumerate(MEANINGS)}
    found = [Gap(cause, n, MEANINGS.get(cause, "counted by the instrument")) for cause, n in counts.items() if n]
    return sorted(found, key=lambda gap: order.get(gap.cause, len(order)))

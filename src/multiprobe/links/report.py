"""The report of an attachment: how each requested function ended, and what is missing from the results."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from multiprobe.errors import IncompleteError, errno_name
from multiprobe.markup import table
from multiprobe.plurals import counted_text, plural_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multiprobe.functions.sets import Refusal


@dataclass(frozen=True, slots=True)
class Failure:
    """A function that the kernel refused.

    function: its label; mechanism: by which it was tried; errno: the kernel's answer, a number
    reason: what that errno means for this mechanism, a sentence
    """

    function: str
    mechanism: str
    errno: int
    reason: str

    def __str__(self) -> str:
        return f"{self.function}: {errno_name(self.errno)} from {self.mechanism}: {self.reason}"

    def to_json(self) -> dict[str, object]:
        """The failure as `--json` prints it, with the errno's name."""
        return {
            "function": self.function,
            "mechanism": self.mechanism,
            "errno": errno_name(self.errno),
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Drop:
    """A function that was detached before the attachment ended. Its counts until then are kept.

    function: its label; code: the cause, "budget", "latency" or "user"; reason: a sentence
    rate: its hits a second before; share: the part of one CPU's time that they used
    seconds: from the first function attached to this detachment
    """

    function: str
    code: str
    reason: str
    rate: float
    share: float
    seconds: float

    def __str__(self) -> str:
        return f"{self.function}: {self.reason}"

    def to_json(self) -> dict[str, object]:
        """The drop as `--json` prints it."""
        return {
            "function": self.function,
            "code": self.code,
            "reason": self.reason,
            "rate": round(self.rate, 3),
            "share": round(self.share, 6),
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class Verified:
    """Known calls that were made while a function was traced.

    function: its label; mechanism: by which it was attached
    made: how many calls; found: how many of them were counted
    """

    function: str
    mechanism: str
    made: int
    found: int

    def to_json(self) -> dict[str, object]:
        """The result as `--json` prints it."""
        return {"function": self.function, "mechanism": self.mechanism, "made": self.made, "found": self.found}


@dataclass(frozen=True, slots=True)
class Gap:
    """One cause for which results are missing.

    cause: its name in JSON; n: how many calls, events or functions; meaning: a sentence
    """

    cause: str
    n: int
    meaning: str

    def __str__(self) -> str:
        return counted_text(self.n, self.cause.replace("_", " "))


MEANINGS = {
    "link_misses": "calls not delivered, because another probe was running on that CPU",
    "recursion_misses": "calls for which the program did not run, because a program was running on that CPU already: "
    "mostly of functions that probes call themselves, or while a task was preempted in it",
    "full_maps": "updates lost because a hash map was full: raise its max_entries",
    "dropped_events": "events lost because their ring buffer was full: raise its size, or read more often",
    "stack_collisions": "stacks lost because their entry held another one: raise the map's max_entries",
    "failed_stacks": "stacks that the kernel could not walk",
    "out_of_range": "writes to an array outside of its bounds",
    "failed_reads": "reads of memory that failed: the program got zeros",
    "cut_loops": "loops that ended at their limit: raise loop_limit",
    "unpaired_entries": "calls of which the entry was counted, but not the return",
    "unpaired_returns": "returns without an entry: the calls had begun before",
    "unfollowed_children": "children of the measured process that were not measured, with all that they did",
    "unknown_function": "counts that belong to no attached function: a defect of multiprobe, please report it",
    "skipped": "requested functions that were not attached, each with its reason",
    "failed": "functions that the kernel refused, each with its errno",
    "dropped": "functions detached before the end; their counts until then are kept",
    "unverified": "known calls that are not in the counts",
}
"""By cause, in the order in which gaps are reported. Causes that an instrument adds come after them."""

#: The version of what `--json` prints (docs/json.md). Fields may be added without a new one.
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Report:
    """A snapshot of an attachment. Each requested function is in exactly one of `attached`, `skipped` and `failed`.

    requested, attached: numbers of functions
    skipped, failed: a Refusal and a Failure for each function that multiprobe, or the kernel, refused
    dropped: a Drop for each attached function that was detached before the end
    budget: with a budget, the part of CPU time that the probes used last ("share"), and what a hit costs
    links: open kernel links; mechanisms: functions attached by each mechanism, by its name
    missed: losses by cause (see `Attachment.missed`); verified: known calls that were looked for in the counts
    kernel_memory: bytes that the kernel needs, where it is much: for the links "predicted", and "taken" (all that the
        kernel allocated for itself while they were created); for the program's maps "maps"; else empty
    processes: how many processes were measured by now, with `pid` and its children; else None
    notes: sentences; timings: seconds for "plan", "compile", "load", "attach" and, once detached, "detach"
    """

    requested: int
    attached: int = 0
    skipped: tuple[Refusal, ...] = ()
    failed: tuple[Failure, ...] = ()
    dropped: tuple[Drop, ...] = ()
    budget: Mapping[str, object] = field(default_factory=dict)
    links: int = 0
    mechanisms: Mapping[str, int] = field(default_factory=dict)
    missed: Mapping[str, int] = field(default_factory=dict)
    verified: tuple[Verified, ...] = ()
    notes: tuple[str, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    kernel_memory: Mapping[str, int] = field(default_factory=dict)
    processes: int | None = None

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """Everything known to be missing from the results, a Gap for each cause; empty if complete."""
        counts = {cause: n for cause, n in self.missed.items() if n}
        counts |= {"skipped": len(self.skipped), "failed": len(self.failed), "dropped": len(self.dropped)}
        counts["unverified"] = sum(one.made - one.found for one in self.verified)
        order = {cause: number for number, cause in enumerate(MEANINGS)}
        found = [Gap(cause, n, MEANINGS.get(cause, "counted by the instrument")) for cause, n in counts.items() if n]
        return tuple(sorted(found, key=lambda gap: order.get(gap.cause, len(order))))

    def require_complete(self) -> None:
        """Raise IncompleteError if anything is known to be missing."""
        if self.gaps:
            raise IncompleteError(f"the results are incomplete: {', '.join(map(str, self.gaps))}", report=self)

    def _repr_html_(self) -> str:
        """For notebooks: how many functions went where, and each one that isn't attached, with its reason."""
        ways = ", ".join(f"{n:,} by {name}" for name, n in self.mechanisms.items())
        caption = f"requested {self.requested:,}, attached {self.attached:,} in {plural_text(self.links, 'link')}"
        rows = [
            *((f.function, "failed", f"{errno_name(f.errno)} from {f.mechanism}: {f.reason}") for f in self.failed),
            *((d.function, "dropped", d.reason) for d in self.dropped),
            *((r.request, "skipped", r.reason) for r in self.skipped),
            *((cause, "missed", f"{n:,}") for cause, n in self.missed.items() if n),
        ]
        return table(("function", "result", "reason"), rows, caption=f"{caption} ({ways})" if ways else caption)

    def to_json(self) -> dict[str, object]:
        """The report as the object that `--json` prints last (docs/json.md)."""
        return {
            "type": "report",
            "schema": SCHEMA,
            "requested": self.requested,
            "attached": self.attached,
            "skipped": [{"function": r.request, "code": r.code, "reason": r.reason} for r in self.skipped],
            "failed": [failure.to_json() for failure in self.failed],
            "dropped": [drop.to_json() for drop in self.dropped],
            "budget": dict(self.budget),
            "links": self.links,
            "mechanisms": dict(self.mechanisms),
            "kernel_memory": dict(self.kernel_memory),
            "processes": self.processes,
            "missed": dict(self.missed),
            "missing": [{"cause": gap.cause, "n": gap.n, "meaning": gap.meaning} for gap in self.gaps],
            "verified": [one.to_json() for one in self.verified],
            "notes": list(self.notes),
            "timings": {name: round(seconds, 6) for name, seconds in self.timings.items()},
        }

    def __str__(self) -> str:
        how = ", ".join(f"{n} by {mechanism}" for mechanism, n in self.mechanisms.items())
        links = f" in {plural_text(self.links, 'link')}" if self.links else ""
        lines = [f"requested {self.requested}, attached {self.attached}{links}{f' ({how})' if how else ''}"]
        lines += [f"skipped {n}: {reason}" for reason, n in self._skipped_by_reason()]
        lines += [f"failed: {failure}" for failure in self.failed]
        lines += [f"dropped: {drop}" for drop in self.dropped]
        missed = {name: n for name, n in self.missed.items() if n}
        lines += [f"missed: {', '.join(f'{n} {name}' for name, n in missed.items())}"] if missed else []
        return "\n".join(lines + [f"note: {note}" for note in self.notes])

    def _skipped_by_reason(self) -> list[tuple[str, int]]:
        counts: dict[str, int] = {}
        one: dict[str, str] = {}
        for refusal in self.skipped:
            counts[refusal.code] = counts.get(refusal.code, 0) + 1
            one.setdefault(refusal.code, str(refusal))
        return [
            (one[code] if n == 1 else f"{code.replace('_', ' ')} (as {one[code]})", n)
            for code, n in sorted(counts.items(), key=lambda item: -item[1])
        ]

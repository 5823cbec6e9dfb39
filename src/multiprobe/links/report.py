"""What became of every requested function: attached, skipped, or failed. Values and their words; no kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.errors import IncompleteError, errno_name
from multiprobe.links.completeness import gaps
from multiprobe.markup import table

if TYPE_CHECKING:
    from multiprobe.functions.sets import Refusal
    from multiprobe.links.completeness import Gap


@dataclass(frozen=True, slots=True)
class Failure:
    """A function that the kernel refused: `errno` is its answer, `reason` what that means here."""

    function: str
    mechanism: str
    errno: int
    reason: str

    def __str__(self) -> str:
        return f"{self.function}: {errno_name(self.errno)} from {self.mechanism}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Drop:
    """A function that was attached and is detached since, before the end; what it counted until then stays.

    `code` says why: "budget" or "latency"; `reason` in words. `rate`: its hits a second by then; `share`: the part of
    one CPU's time that they took; `seconds`: when, counted from the first function attached.
    """

    function: str
    code: str
    reason: str
    rate: float
    share: float
    seconds: float

    def __str__(self) -> str:
        return f"{self.function}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Verified:
    """Known calls of one function, made while it was traced by `mechanism`, and how many were found again."""

    function: str
    mechanism: str
    made: int
    found: int


#: The version of what `--json` prints (docs/json.md). Fields may be added without a new one.
SCHEMA = 1


class Report:
    """Every requested function in exactly one of `attached` (a count), `skipped` and `failed`.

    Those of the attached that had to go before the end stand in `dropped`; `budget` says, where there is one, what
    share of CPU time the probes took at last, and what a hit costs. `links` counts kernel links, `mechanisms` the
    functions attached by each mechanism, `timings` gives seconds for "plan", "load", "attach" and, once closed,
    "detach"; `missed` what the kernel says was not seen, `verified` the known calls that were looked for.
    """

    __slots__ = (
        "attached",
        "budget",
        "dropped",
        "failed",
        "is_strict",
        "links",
        "mechanisms",
        "missed",
        "notes",
        "requested",
        "skipped",
        "timings",
        "verified",
        "verify_side",
    )

    def __init__(self, requested: int, skipped: list[Refusal]) -> None:
        self.requested = requested
        self.attached = 0
        self.skipped = skipped
        self.failed: list[Failure] = []
        self.dropped: list[Drop] = []
        self.budget: dict[str, object] = {}
        self.links = 0
        self.mechanisms: dict[str, int] = {}
        self.missed: dict[str, int] = {}
        self.notes: list[str] = []
        self.verified: list[Verified] = []
        self.is_strict = False  # what the user wants made of it: an error of what is missing,
        self.verify_side = ""  # known calls looked for, on this side
        self.timings: dict[str, float] = {}

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """What is known to be missing from the results, cause by cause; nothing where nothing is."""
        return tuple(gaps(self))

    def require_complete(self) -> None:
        """Raise IncompleteError if anything is known to be missing."""
        found = self.gaps
        if found:
            raise IncompleteError(f"the results are incomplete: {', '.join(map(str, found))}", report=self)

    def _repr_html_(self) -> str:
        """For notebooks: how many functions went where, and each one that isn't attached, with its reason."""
        ways = ", ".join(f"{n:,} by {name}" for name, n in self.mechanisms.items())
        links = "1 link" if self.links == 1 else f"{self.links:,} links"
        caption = f"requested {self.requested:,}, attached {self.attached:,} in {links}"
        rows = [
            *((f.function, "failed", f"{errno_name(f.errno)} from {f.mechanism}: {f.reason}") for f in self.failed),
            *((d.function, "dropped", d.reason) for d in self.dropped),
            *((r.request, "skipped", r.reason) for r in self.skipped),
            *((cause, "missed", f"{n:,}") for cause, n in self.missed.items() if n),
        ]
        return table(("function", "became", "why"), rows, caption=f"{caption} ({ways})" if ways else caption)

    def to_json(self) -> dict[str, object]:
        """The report as the object that `--json` prints last."""
        return {
            "type": "report",
            "schema": SCHEMA,
            "requested": self.requested,
            "attached": self.attached,
            "skipped": [{"function": r.request, "code": r.code, "reason": r.reason} for r in self.skipped],
            "failed": [
                {
                    "function": f.function,
                    "mechanism": f.mechanism,
                    "errno": errno_name(f.errno),
                    "reason": f.reason,
                }
                for f in self.failed
            ],
            "dropped": [
                {
                    "function": d.function,
                    "code": d.code,
                    "reason": d.reason,
                    "rate": round(d.rate, 3),
                    "share": round(d.share, 6),
                    "seconds": round(d.seconds, 3),
                }
                for d in list(self.dropped)
            ],
            "budget": dict(self.budget),
            "links": self.links,
            "mechanisms": dict(self.mechanisms),
            "missed": dict(self.missed),
            "missing": [{"cause": gap.cause, "n": gap.n, "meaning": gap.meaning} for gap in self.gaps],
            "verified": [
                {"function": v.function, "mechanism": v.mechanism, "made": v.made, "found": v.found}
                for v in self.verified
            ],
            "notes": list(self.notes),
            "timings": {name: round(seconds, 6) for name, seconds in self.timings.items()},
        }

    def __str__(self) -> str:
        how = ", ".join(f"{n} by {mechanism}" for mechanism, n in self.mechanisms.items())
        links = f" in {self.links} link{'' if self.links == 1 else 's'}" if self.links else ""
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

"""Writes the report of an attachment as text, from the object that `--json` prints, so that both say the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.output.units import time_text
from multiprobe.plurals import counted_text, plural_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    Fields = Mapping[str, Any]  # of the JSON object, or of an object in it

_EXAMPLES = 3
_DROPS = 10
_FAILURES = 20
_MEMORY = 1_000_000


def report_lines(report: Fields, *, is_plan: bool = False) -> Iterator[str]:
    """The report as lines: functions attached, skipped (by reason) and failed, and what was missed; or a plan."""
    links, mechanisms = report["links"], report.get("mechanisms", {})
    how = ", ".join(f"{n:,} by {name}" if len(mechanisms) > 1 else name for name, n in mechanisms.items())
    yield (
        f"{'would attach' if is_plan else 'attached'} {report['attached']:,}"
        f" of {plural_text(report['requested'], 'function')}"
        f" in {plural_text(links, 'link')}{f' ({how})' if how else ''}"
    )
    if (report.get("processes") or 1) > 1:
        yield f"measured {report['processes']:,} processes"
    yield from _step_lines(report)
    yield from _memory_lines(report.get("kernel_memory", {}))
    yield from _skipped_lines(report["skipped"])
    yield from _failed_lines(report["failed"])
    if not is_plan:
        yield from _dropped_lines(report.get("dropped", ()), report.get("budget", {}))
        yield from _missing_lines(report)
        yield from _verified_lines(report.get("verified", ()))
    yield from (f"note: {note}" for note in report.get("notes", ()))


def _missing_lines(report: Fields) -> Iterator[str]:
    """What is missing from the results: in short, then a line for each cause."""
    missed = {name: n for name, n in report["missed"].items() if n}
    text = ", ".join(counted_text(n, name.replace("_", " ")) for name, n in missed.items())
    yield f"missed: {text or 'nothing known'}"
    for gap in report.get("missing", ()):
        yield f"  {counted_text(gap['n'], gap['cause'].replace('_', ' '))}: {gap['meaning']}"


def _dropped_lines(dropped: Sequence[Fields], budget: Fields) -> Iterator[str]:
    if budget:
        yield f"probes used {budget['share']:.1%} of CPU time at the end; the budget is {budget['budget']:.1%}"
    if dropped:
        yield f"dropped {len(dropped):,}, the hottest first:"
    for drop in sorted(dropped, key=lambda one: -one["rate"])[:_DROPS]:
        yield f"  {drop['function']}: after {drop['seconds']:.1f} s: {drop['reason']}"
    if len(dropped) > _DROPS:
        yield f"  … and {len(dropped) - _DROPS:,} more (--json names all)"


def _verified_lines(verified: Sequence[Fields]) -> Iterator[str]:
    if verified:
        made, found = (sum(one[what] for one in verified) for what in ("made", "found"))
        calls, functions = plural_text(made, "known call"), plural_text(len(verified), "function")
        yield f"verified: of {calls} of {functions} {found:,} {'was' if found == 1 else 'were'} counted"
    for one in verified:
        if one["made"] != one["found"]:
            calls = plural_text(one["made"], "call")
            yield f"  {one['function']} by {one['mechanism']}: {calls}, {one['found']:,} found"


def _step_lines(report: Fields) -> Iterator[str]:
    """The links and system calls of a plan, and its time."""
    steps = report.get("steps", ())
    if len(steps) > 1:
        for step in steps:
            links, calls = plural_text(step["links"], "link"), plural_text(step["system_calls"], "system call")
            yield f"  {step['functions']:,}  {step['mechanism']}: {links}, {calls}"
    if steps:
        attach, detach = _time(report["attach_seconds"]), _time(report["detach_seconds"])
        calls = plural_text(report["system_calls"], "system call")
        yield f"in {calls}, about {attach} to attach and {detach} to detach on a machine like this one"


def _memory_lines(memory: Fields) -> Iterator[str]:
    """The kernel memory of links and maps, if it is worth a line each."""
    predicted, taken, maps = memory.get("predicted", 0), memory.get("taken"), memory.get("maps", 0)
    if max(predicted, taken or 0) >= _MEMORY:
        about = f"about {_megabytes(predicted)}"
        yield f"kernel memory for links: {about if taken is None else f'{_megabytes(taken)} ({about} predicted)'}"
    if maps >= _MEMORY:
        yield f"kernel memory for maps: {_megabytes(maps)}"


def _megabytes(n: int) -> str:
    return f"{n / 1e6:,.1f} MB" if n < 99.95e6 else f"{n / 1e6:,.0f} MB"


def _time(seconds: float) -> str:
    return time_text(round(seconds * 1e9)) if seconds < 100 else plural_text(round(seconds / 60), "minute")


def _failed_lines(failed: Sequence[Fields]) -> Iterator[str]:
    if failed:
        yield f"failed {len(failed):,}:"
        yield from (
            f"  {failure['function']}: {failure.get('errno', '')}: {failure['reason']}"
            for failure in failed[:_FAILURES]
        )
        if len(failed) > _FAILURES:
            yield f"  … and {len(failed) - _FAILURES:,} more (--json names all)"


def _skipped_lines(skipped: Sequence[Fields]) -> Iterator[str]:
    groups: dict[str, list[Fields]] = {}
    for refusal in skipped:
        groups.setdefault(refusal.get("code", refusal["reason"]), []).append(refusal)
    if groups:
        yield f"skipped {len(skipped):,}:"
    for code, refusals in sorted(groups.items(), key=lambda item: -len(item[1])):
        reasons = {_without_name(refusal) for refusal in refusals}
        why = reasons.pop() if len(reasons) == 1 else code.replace("_", " ")
        names = ", ".join(refusal["function"] for refusal in refusals[:_EXAMPLES])
        more = ", …" if len(refusals) > _EXAMPLES else ""
        yield f"  {len(refusals):,}  {why}: {names}{more}"


def _without_name(refusal: Fields) -> str:
    """The reason without the function's name in front, so that equal reasons are equal texts."""
    reason: str = refusal["reason"]
    name = refusal["function"]
    bare = reason.removeprefix(f"{name} ")  # names of C++ have spaces, those of modules follow one
    return (bare if bare != reason else reason.removeprefix(name.partition(" ")[0] + " ")).removeprefix("is ")

"""`multiprobe diff --plan`: what can be attached on one kernel and not on another."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from multiprobe.cli.options import DEFAULT_TOP
from multiprobe.cli.run_files import shown
from multiprobe.output.table import Column, TextTable
from multiprobe.plurals import plural_text
from multiprobe.runs.listing import CHANGES, compare_listings, load_listing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multiprobe.cli.results import Results
    from multiprobe.runs.listing import ListingChange

_WORDS = {
    "refused": "can't be attached to any more",
    "attachable": "can be attached to now",
    "gone": "gone",
    "new": "new",
    "mechanisms": "with other mechanisms",
}


def diff_plans(before: str, after: str, results: Results, *, is_json: bool, top: int | None) -> None:
    """Print how the functions of two kernels differ."""
    sides = load_listing(before), load_listing(after)
    changes = compare_listings(*sides)
    numbers = Counter(change.change for change in changes)
    if is_json:
        results.json(change.to_json() for change in changes)
        counts = {kind: numbers[kind] for kind in CHANGES}
        results.json([{"type": "plan_diff", "before": len(sides[0]), "after": len(sides[1]), **counts}])
        return
    rows = shown([change.to_json() for change in changes], top, DEFAULT_TOP)
    if rows:
        results.table(_table(changes[: len(rows)]), n_more=len(changes) - len(rows))
    words = (f"{numbers[kind]:,} {_WORDS[kind]}" for kind in CHANGES if numbers[kind])
    functions = plural_text(len(sides[1]), "function")
    results.lines([f"{len(sides[0]):,} before, {functions} after: {', '.join(words) or 'no difference'}"])


def _table(changes: Sequence[ListingChange]) -> TextTable:
    columns = (Column("CHANGE"), Column("FUNCTION"), Column("BEFORE"), Column("AFTER"), Column("WHY NOT", drop=1))
    return TextTable(columns, [_cells(change) for change in changes])


def _cells(change: ListingChange) -> list[str]:
    name = f"{change.function} [{change.module}]" if change.module else change.function
    sides = ("" if one is None else " ".join(one) or "-" for one in (change.before, change.after))
    return [change.change, name, *sides, change.reason.removeprefix(f"{change.function} ")]

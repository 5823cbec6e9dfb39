"""Compares what can be attached on two kernels: lists of functions, as `multiprobe functions --json` prints them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.errors import DataError
from multiprobe.functions.describe import records
from multiprobe.functions.kernel import Kernel
from multiprobe.runs.info import Fields
from multiprobe.runs.matching import match

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from multiprobe.runs.opening import Label

MAX_LINE = 1 << 16
"""Bytes of a line: one function."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What is said of a function: the mechanisms that can attach to it, and why there is none."""

    mechanisms: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ListingChange:
    """A function that is not the same on two kernels.

    change: "gone", "new" (functions); "refused", "attachable" now; "mechanisms", if other ones can attach to it
    before, after: the mechanisms, None where there is no such function; reason: why none can
    """

    change: str
    module: str
    function: str
    before: tuple[str, ...] | None
    after: tuple[str, ...] | None
    reason: str = ""

    def to_json(self) -> dict[str, object]:
        """The line that `multiprobe diff --plan --json` prints."""
        return {
            "type": "plan_change",
            "change": self.change,
            "module": self.module,
            "function": self.function,
            "before": None if self.before is None else list(self.before),
            "after": None if self.after is None else list(self.after),
            "reason": self.reason,
        }


Listing = dict["Label", Listed]
CHANGES = ("refused", "attachable", "gone", "new", "mechanisms")
"""The kinds of changes, in the order in which they are printed."""


def load_listing(path: str) -> Listing:
    """The functions of a kernel, from the output of `multiprobe functions --json`, or a directory of its files.

    Raises OSError, and DataError for any other file.
    """
    if os.path.isdir(path):
        functions = Kernel.from_directory(path).functions("*")
        return _listing((one.module, one.function, one.mechanisms, one.reason) for one in records(functions))
    with open(path, "rb") as file:
        found = _listing(_parse_lines(iter(lambda: file.readline(MAX_LINE), b""), path))
    if not found:
        raise DataError(f"{path} lists no functions", hint="write it with: multiprobe functions '*' --json")
    return found


def _parse_lines(lines: Iterable[bytes], path: str) -> Iterator[tuple[str, str, Iterable[str], str]]:
    for number, line in enumerate(lines, 1):
        try:
            item = json.loads(line)
        except (ValueError, RecursionError):
            item = None
        if not isinstance(item, dict) or item.get("type") != "function" or "verdict" not in item:
            raise DataError(
                f"{path}: line {number:,} is not a function as `multiprobe functions --json` prints it",
                hint="write it with: multiprobe functions '*' --json, or name a directory of a kernel's files",
            )
        fields = Fields(item, path, f"line {number:,}")
        yield fields.text("module"), fields.text("function"), fields.texts("mechanisms"), fields.text("reason")


def _listing(functions: Iterable[tuple[str, str, Iterable[str], str]]) -> Listing:
    """By module and name; of several functions of one name, the first that can be attached to."""
    found: Listing = {}
    for module, name, mechanisms, reason in functions:
        listed = Listed(tuple(mechanisms), reason)
        known = found.setdefault((module, name), listed)
        if listed.mechanisms and not known.mechanisms:
            found[module, name] = listed
    return found


def compare_listings(before: Listing, after: Listing) -> list[ListingChange]:
    """What changed, by kind and name. Names that differ in a compiler's suffix (`.isra.0`) are matched."""
    common = match(before, after)
    old, new = _renamed(before, common), _renamed(after, common)
    labels = old.keys() | new.keys()
    changes = [_change(label, old.get(label), new.get(label)) for label in labels if old.get(label) != new.get(label)]
    found = [change for change in changes if change is not None]
    return sorted(found, key=lambda one: (CHANGES.index(one.change), one.module, one.function))


def _renamed(listing: Listing, common: Mapping[Label, Label]) -> Listing:
    return _listing((*common.get(label, label), one.mechanisms, one.reason) for label, one in listing.items())


def _change(label: Label, old: Listed | None, new: Listed | None) -> ListingChange | None:
    before, after = (None if one is None else one.mechanisms for one in (old, new))
    reason = next((one.reason for one in (new, old) if one is not None and not one.mechanisms), "")
    if before == after:
        return None  # for another reason
    if before is None or after is None:
        return ListingChange("new" if before is None else "gone", *label, before, after, reason)
    kind = "mechanisms" if before and after else "attachable" if after else "refused"
    return ListingChange(kind, *label, before, after, reason)

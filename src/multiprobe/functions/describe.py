"""Describes functions as records: one for each function of a set, or everything known about a single function.

Pure except for the types that `why` looks up; formatting as JSON or text is done elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.functions import verdict as rules
from multiprobe.functions.request import resolve
from multiprobe.functions.table import NO_SLOTS
from multiprobe.kernel.mechanism import MECHANISMS, Mechanism, mechanism_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from multiprobe.functions.kernel import Kernel
    from multiprobe.functions.pattern import Pattern
    from multiprobe.functions.sets import FunctionSet

NOT_OFFERED = "this kernel was built without what could carry it"


@dataclass(frozen=True, slots=True)
class FunctionRecord:
    """One function (or request) as it is shown. `address` is None where there is none or the kernel hides it."""

    function: str
    address: int | None
    module: str
    is_attachable: bool
    mechanisms: list[str]
    code: str
    reason: str


def records(chosen: FunctionSet, *, when: str = "entry") -> Iterator[FunctionRecord]:
    """A record for each function of a set, and for each request that named none, by what this kernel offers."""
    table, offers = chosen.table, chosen.table.offers
    why_not = chosen.why_not(offers or Mechanism.KERNEL, when=when)
    names = {mask: mechanism_names(mask & offers) for mask in range(Mechanism.KERNEL + 1)}
    for place, mask in enumerate(chosen.mechanisms(when=when)):
        row = chosen.rows[place]
        name = table.name(row)
        offset = chosen.offsets[place] if chosen.offsets is not None else 0
        code = reason = ""
        if mask and not mask & offers:
            could = ", ".join(mechanism_names(mask))
            code, reason = "not_offered", f"{name} could be carried by {could}, but {NOT_OFFERED}"
        elif mask & offers != offers or not offers:
            _, code, reason = why_not(place)
        yield FunctionRecord(
            f"{name}+{offset:#x}" if offset else name,
            None if table.is_zeroed else table.addresses[row] + offset,
            table.module(row),
            bool(mask & offers),
            names[mask],
            code,
            reason,
        )
    for refusal in chosen.unresolved:
        yield FunctionRecord(refusal.request, None, "", False, [], refusal.code, refusal.reason)


def why(kernel: Kernel, pattern: Pattern, *, unsafe: bool = False) -> tuple[list[dict[str, object]], str]:
    """Everything known about the function(s) of one name or address, and "" or why there is none.

    Each answer has `function`, `address`, `module`, `signature`, `aliases`, `call_offset`, `slots`, `notes`, and
    `rules`: for each mechanism and side whether it may carry the function (`allowed`), whether the kernel was built
    with it (`offered`), and every rule against it (`against`: code, reason, kernel).
    """
    table = kernel.table
    rows = table.rows_of_name(pattern.name) if pattern.kind == "symbol" else []
    if pattern.module or not rows:
        chosen = resolve(table, [pattern], unsafe=unsafe)
        rows = list(chosen.rows)
        if not rows:
            return [], str(chosen.unresolved[0])
    return [explain_row(kernel, row, unsafe=unsafe) for row in rows], ""


def explain_row(kernel: Kernel, row: int, *, unsafe: bool = False) -> dict[str, object]:
    """Everything known about the function in one row; see `why`."""
    table = kernel.table
    name, facts, offers = table.name(row), table.facts[row], kernel.offers
    original = table.distinct_row(row)
    family = [original, *(table.n_distinct + i for i, other in enumerate(table.aliases) if other == original)]
    return {
        "function": name,
        "address": None if table.is_zeroed else f"{table.addresses[row]:#x}",
        "module": table.module(row),
        "signature": _signature(kernel, row),
        "aliases": [table.name(other) for other in family if other != row],
        "call_offset": table.call_offsets[row],
        "slots": None if table.slots[row] == NO_SLOTS else table.slots[row],
        "rules": [
            {
                "mechanism": mechanism,
                "when": side,
                "allowed": not against,
                "offered": bool(offers & MECHANISMS[mechanism]),
                "against": [{"code": code, "reason": reason, "kernel": source} for code, reason, source in against],
            }
            for mechanism, side, against in rules.explain(facts, name, unsafe=unsafe)
        ],
        "notes": kernel.problems(),
    }


def _signature(kernel: Kernel, row: int) -> str:
    """The function's C declaration, "" where there are no types."""
    table = kernel.table
    btf_id = table.btf_ids[row]
    types = kernel.btf_of(table.module(row)) if btf_id else None
    return types.signature(btf_id) if types is not None else ""

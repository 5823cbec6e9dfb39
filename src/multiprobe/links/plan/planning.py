"""Makes the plan of an attachment from a set of functions and the mechanisms that the user allows.

Shared by attaching and by previews of it. Reads facts of the kernel (running or out of files), and asks it nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.binaries.mixed import kernel_of, kernel_part
from multiprobe.errors import UsageError
from multiprobe.functions.kernel import Kernel
from multiprobe.functions.sets import Refusal
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.ledger import Ledger
from multiprobe.links.mechanisms.culprits import Culprits
from multiprobe.links.plan.costs import COSTS
from multiprobe.links.plan.memory import predict_memory
from multiprobe.links.plan.plan import Group, LinkPlan, make_plan
from multiprobe.links.plan.usable import paired_mechanisms, usable_for
from multiprobe.plurals import plural_text

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.links.mechanisms.harm import Harm
    from multiprobe.links.plan.mechanisms import Mechanisms

NOTHING: Mapping[int, Harm] = {}


def plan_attachment(
    chosen: AnyFunctionSet,
    mechanisms: Mechanisms,
    *,
    when: str,
    usable: Mechanism | None = None,
    harmful: Mapping[int, Harm] = NOTHING,
) -> tuple[LinkPlan, Ledger]:
    """The plan, and a ledger in which everything that is not planned is skipped with its reason.

    `usable`: the mechanisms that may be used, when the caller knows better than the kernel's symbols. `harmful`: the
    positions of functions that a probe would change, with the reason as a word and as a sentence. Raises UsageError
    when all would go one by one, and they are too many.
    """
    if usable is None:
        usable = mechanisms.allowed & usable_for(chosen, when=when)
    masks, gone = without(gone_among(chosen, range(len(chosen))), chosen.mechanisms(when=when), usable)
    masks, would_change = without(harmful, masks, usable)
    kernel, (first, of_kernel) = kernel_of(chosen), kernel_part(chosen)
    culprits = Culprits.load(kernel.build_id if kernel else "")
    if culprits and of_kernel is not None:
        masks = culprits.without_known(masks, of_kernel, when=when, first=first)
    paired = paired_mechanisms(kernel, when=when, may_fsession=mechanisms.has_fsession) if kernel else Mechanism.NONE
    plan = make_plan(masks, when=when, usable=usable, paired=paired)
    skipped = chosen.refusals(usable, when=when) if plan.refused or chosen.unresolved else []
    skipped += [Refusal(chosen.label(position), "module_gone", GONE) for position in gone]
    skipped += [Refusal(chosen.label(position), *harmful[position]) for position in would_change]
    known = {refusal.request for refusal in skipped}
    skipped += [
        Refusal(chosen.label(position), "refused_before", culprits.reason(chosen, position))
        for position in plan.refused
        if culprits and chosen.label(position) not in known
    ]
    plan, too_many = limit_singles(plan, mechanisms.max_singles)
    skipped += [
        Refusal(chosen.label(position), "too_many_singles", _over(mechanisms.max_singles)) for position in too_many
    ]
    ledger = Ledger(len(chosen) + len(chosen.unresolved), skipped)
    if kernel and (predicted := predict_memory(plan, kernel.table)):
        ledger.set_memory(predicted=predicted)
    return plan, ledger


GONE = "its module was unloaded, or loaded anew, since the kernel's functions were read: make a new mp.Kernel()"


def without(excluded: Collection[int], masks: bytes, usable: Mechanism) -> tuple[bytes, list[int]]:
    """`masks` with nothing at the excluded positions, and those of them that would be carried."""
    if not excluded:
        return masks, []
    positions = sorted(position for position in excluded if masks[position] & usable)
    left = bytearray(masks)
    for position in positions:
        left[position] = 0
    return bytes(left), positions


def gone_among(functions: AnyFunctionSet, indices: Collection[int]) -> set[int]:
    """Those of the functions (by index) whose module was unloaded, or loaded anew, since the functions were read.

    Another function may be at their addresses now.
    """
    first, chosen = kernel_part(functions)
    if chosen is None:
        return set()
    table, rows = chosen.table, chosen.rows
    own = indices if chosen is functions else [index for index in indices if first <= index < first + len(rows)]
    own_rows = rows if len(own) == len(rows) else [rows[index - first] for index in own]
    used = set(map(table.modules.__getitem__, own_rows))
    gone = Kernel.of(table).gone_modules(table.module_names[module] for module in used)
    return {index for index in own if table.module(rows[index - first]) in gone} if gone else set()


def limit_singles(plan: LinkPlan, most: int) -> tuple[LinkPlan, list[int]]:
    """The plan with at most so many functions attached one by one, and the positions that were too many.

    Raises UsageError when nothing goes in a batch: a kernel's first thousand functions are no answer to anything.
    """
    n = sum(len(group.positions) for group in plan.groups if not _is_batch(plan, group))
    if not most or n <= most:
        return plan, []
    if n == plan.n_functions:
        raise UsageError(
            f"{plural_text(n, 'function')} would have to be attached one by one here, and the limit is {most:,}",
            hint="choose fewer, or lift the limit: --max-singles N, or mp.Mechanisms(max_singles=N) (0: no limit)",
        )
    left = most
    groups: list[Group] = []
    over: list[int] = []
    for group in plan.groups:
        if _is_batch(plan, group):
            groups.append(group)
            continue
        kept, rest = group.positions[:left], group.positions[left:]
        left -= len(kept)
        over += rest
        if kept:
            groups.append(Group(group.mechanism, kept))
    return plan.with_groups(groups), sorted(over)


def _is_batch(plan: LinkPlan, group: Group) -> bool:
    return COSTS[plan.when, group.mechanism].is_batch


def _over(most: int) -> str:
    return (
        f"more than {plural_text(most, 'function')} would be attached one by one; "
        "--max-singles (max_singles=) lifts the limit"
    )

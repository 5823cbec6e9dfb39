"""Estimates what a plan costs: links, system calls and instructions of each mechanism."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.plan.costs import cost_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multiprobe.links.plan.plan import Group, LinkPlan


@dataclass(frozen=True, slots=True)
class Step:
    """One mechanism's share of a plan.

    system_calls: those that load programs, open probes and make links; maps come on top, a few for each attachment
    attach, detach: instructions of the whole machine, waiting included (see `costs`)
    """

    mechanism: str
    functions: int
    links: int
    system_calls: int
    attach: int
    detach: int

    def to_json(self) -> dict[str, object]:
        """As `--dry-run --json` shows it, without what only holds on this machine."""
        return {
            "mechanism": self.mechanism,
            "functions": self.functions,
            "links": self.links,
            "system_calls": self.system_calls,
        }


def steps_of(plan: LinkPlan, owners: Sequence[object]) -> list[Step]:
    """The steps of a plan. `owners`: of each function its module or binary, which a link of a batch may not leave."""
    return [_step(plan, group, owners) for group in plan.groups]


def _step(plan: LinkPlan, group: Group, owners: Sequence[object]) -> Step:
    n, links = len(group.positions), plan.links_of(group)
    is_paired = bool(group.mechanism & plan.paired)
    if group.mechanism & (Mechanism.TRACING_MULTI | Mechanism.UPROBE_MULTI):  # a link for each BTF object or binary
        links = len({owners[position] for position in group.positions})
    calls = 2 * links
    if group.mechanism == Mechanism.KPROBE:  # a probe and a link each, programs shared
        calls += 2 if is_paired else 1
    cost = cost_of(group.mechanism, when=plan.when, is_paired=is_paired)
    attach, detach = cost.attach * n + cost.link_attach * links, cost.detach * n + cost.link_detach * links
    return Step(group.mechanism.label, n, links, calls, attach, detach)

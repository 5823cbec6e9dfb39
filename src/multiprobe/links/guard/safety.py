"""What the user asked for besides attaching: a budget, care, a watchdog. From options to the objects that see to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.errors import UsageError
from multiprobe.links.guard.budget import checked_budget
from multiprobe.links.guard.guard import Guard
from multiprobe.links.guard.prices import Prices
from multiprobe.links.guard.replaceable import Parts
from multiprobe.links.guard.waves import in_waves
from multiprobe.links.mechanisms.linking import CONTEXTS
from multiprobe.maps.cpus import load_n_cpus

if TYPE_CHECKING:
    from multiprobe.links.guard.guard import Guard
    from multiprobe.links.mechanisms.linking import Linking
    from multiprobe.links.plan.plan import Plan
    from multiprobe.links.report import Report


@dataclass(frozen=True, slots=True)
class Safety:
    """`budget`: share of CPU time or None; `is_careful`: attach in growing waves, retreat when the machine suffers."""

    budget: float | None
    is_careful: bool

    def waves(self, plan: Plan) -> Plan:
        """The plan in parts that can be replaced."""
        return in_waves(plan, has_budget=self.budget is not None, is_careful=self.is_careful)

    def guard(self, linking: Linking, plan: Plan, report: Report) -> Guard:
        """Who watches the attachment; measures first what a hit costs, and how the machine is before."""
        loading, prices = linking.loading, Prices()
        if self.budget is not None:
            for mechanism in dict.fromkeys(group.mechanism for group in plan.groups):
                side = "entry" if mechanism & loading.paired else ""
                n_insns = len(loading.code(CONTEXTS[mechanism], side).insns) // 8
                is_paired = bool(mechanism & loading.paired)
                kernel = loading.functions.kernel
                prices.find(kernel, mechanism, when=loading.when, is_paired=is_paired, n_insns=n_insns)
        return Guard(
            Parts(linking, load_n_cpus()),
            loading.store.hits,
            loading.functions,
            budget=self.budget,
            prices=prices,
            is_careful=self.is_careful,
            report=report,
        )


def safety(budget: float | None, *, is_careful: bool) -> Safety | None:
    """From the options of `attach`; None where nothing is asked for. Raises UsageError for a budget that is none."""
    if budget is None and not is_careful:
        return None
    if not isinstance(is_careful, bool):
        raise UsageError(f"careful={is_careful!r} means nothing", hint="use True or False")
    return Safety(None if budget is None else checked_budget(budget), is_careful)

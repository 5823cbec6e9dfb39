"""From the limits of an attachment to the guard that keeps it within them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.links.guard.guard import Guard
from multiprobe.links.guard.prices import Prices
from multiprobe.links.guard.replaceable import Parts
from multiprobe.links.mechanisms.linking import CONTEXTS
from multiprobe.maps.cpus import load_n_cpus

if TYPE_CHECKING:
    from multiprobe.links.guard.limits import Limits
    from multiprobe.links.mechanisms.linking import Linking
    from multiprobe.links.plan.plan import Plan
    from multiprobe.links.report import Report


def make_guard(limits: Limits, linking: Linking, plan: Plan, report: Report) -> Guard:
    """The guard of one attachment. Measures first what a hit costs, and the machine's usual wake-up latency."""
    loading, prices = linking.loading, Prices()
    if limits.budget is not None:
        for mechanism in dict.fromkeys(group.mechanism for group in plan.groups):
            is_paired = bool(mechanism & loading.paired)
            n_insns = len(loading.code(CONTEXTS[mechanism], "entry" if is_paired else "").insns) // 8
            prices.find(loading.functions.kernel, mechanism, when=loading.when, is_paired=is_paired, n_insns=n_insns)
    return Guard(
        Parts(linking, load_n_cpus()),
        loading.store.hits,
        loading.functions,
        budget=limits.budget,
        prices=prices,
        is_careful=limits.careful,
        report=report,
    )

"""From the limits of an attachment to the guard that keeps it within them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.binaries.mixed import kernel_of
from multiprobe.links.guard.guard import Guard
from multiprobe.links.guard.prices import Prices
from multiprobe.links.plan.programs import CONTEXTS

if TYPE_CHECKING:
    from multiprobe.kernel.mechanism import Mechanism
    from multiprobe.links.guard.hottest import Hottest
    from multiprobe.links.guard.limits import Limits
    from multiprobe.links.guard.replaceable import ReplaceableLinks
    from multiprobe.links.ledger import Ledger
    from multiprobe.links.loading import ProgramLoader


def make_guard(
    limits: Limits, loader: ProgramLoader, links: ReplaceableLinks, ledger: Ledger, hottest: Hottest
) -> Guard:
    """The guard of one attachment. Measures first the machine's usual wake-up latency."""
    return Guard(
        links,
        loader.store.hits,
        loader.functions,
        budget=limits.budget,
        prices=Prices(),
        is_careful=limits.careful,
        ledger=ledger,
        hottest=hottest,
    )


def find_price(guard: Guard, loader: ProgramLoader, mechanism: Mechanism) -> None:
    """Measure what a hit costs by this mechanism, if there is a budget and it isn't known yet."""
    prices = guard.prices
    if guard.budget is None or mechanism in prices.fixed:
        return
    is_paired = bool(mechanism & loader.paired)
    n_insns = len(loader.planned.code(CONTEXTS[mechanism], "entry" if is_paired else "").insns) // 8
    kernel = kernel_of(loader.functions)
    prices.find(kernel, mechanism, when=loader.when, is_paired=is_paired, n_insns=n_insns)
